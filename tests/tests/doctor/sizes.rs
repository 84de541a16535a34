//! Packets that are too large, and nobody says so.

use anyhow::Result;
use lab::{GATEWAY_INSIDE, SERVER, VM1};

use super::examination::{Examination, healthy, loses, names, names_on_node, reaches};

const SMALL: &str = "-c 3 -s 1300";
const LARGE: &str = "-c 3 -s 1450";

#[test]
fn the_port_of_an_instance_takes_less_than_it_sends() -> Result<()> {
    names("mtu-smaller-on-the-way", "port1", |lab| {
        reaches(&lab.vm1, GATEWAY_INSIDE, LARGE)?;
        lab.gw.ip("link set port1 mtu 1400")?;
        reaches(&lab.vm1, GATEWAY_INSIDE, SMALL)?;
        loses(&lab.vm1, GATEWAY_INSIDE, LARGE)
    })
}

#[test]
fn a_device_between_two_bridges_takes_less() -> Result<()> {
    names_on_node("mtu-smaller-on-the-way", "qvb", |node| {
        node.host.ip("link set qvb mtu 1400")?;
        reaches(&node.vm1, SERVER, SMALL)?;
        loses(&node.vm1, SERVER, LARGE)
    })
}

#[test]
fn an_instance_takes_less_than_its_router_sends() -> Result<()> {
    names("mtu-smaller-towards-instance", "eth0", |lab| {
        lab.vm1.ip("link set eth0 mtu 1400")?;
        reaches(&lab.gw, VM1, SMALL)?;
        loses(&lab.gw, VM1, LARGE)
    })
}

#[test]
fn the_other_end_of_the_way_out_takes_less() -> Result<()> {
    names("uplink-mtu-larger", "wan", |lab| {
        lab.out.ip("link set eth0 mtu 1400")?;
        reaches(&lab.vm1, SERVER, SMALL)?;
        loses(&lab.vm1, SERVER, LARGE)
    })
}

#[test]
fn a_rule_drops_what_tells_the_size() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("link set wan mtu 1400")?;
    lab.out.ip("link set eth0 mtu 1400")?;
    lab.gw.cmd("iptables").args("-A OUTPUT -p icmp -j DROP".split(' ')).run()?;
    reaches(&lab.vm1, SERVER, "-c 3 -s 1300 -M do")?;
    loses(&lab.vm1, SERVER, "-c 3 -s 1450 -M do")?;
    // Other errors are lost as well, which is a warning of its own.
    let found = Examination::of(&lab.natbpf_cli()?)?;
    found.begins_with("fragmentation-needed-dropped", "-A OUTPUT -p icmp -j DROP")
}
