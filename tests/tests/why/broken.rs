//! Devices, ports and settings that packets do not get past.

use anyhow::{Result, ensure};
use lab::{Lab, SERVER};

use super::asking::{Answer, healthy, names};

#[test]
fn forwarding_is_off() -> Result<()> {
    names("forwarding-off", ("net.ipv4.ip_forward", "router"), |node| {
        node.router.sysctl("net.ipv4.ip_forward", "0")
    })
}

#[test]
fn a_port_is_down() -> Result<()> {
    names("port-down", ("qvb", ""), |node| node.host.ip("link set qvb down"))
}

#[test]
fn a_port_of_the_uplink_is_down() -> Result<()> {
    names("link-down", ("ex-qg", ""), |node| node.host.ip("link set ex-qg down"))
}

#[test]
fn a_port_is_disabled() -> Result<()> {
    names("port-blocked", ("qvo", ""), |node| {
        node.host.cmd("bridge").args("link set dev qvo state 0".split(' ')).run()
    })
}

/// Ports of a spanning tree pass nothing on for twice the forward delay.
#[test]
fn the_spanning_tree_still_listens() -> Result<()> {
    names("port-blocked", ("qvo", ""), |node| {
        node.host.ip("link set br-int type bridge stp_state 1\nlink set qvo down\nlink set qvo up")?;
        node.host.wait_for_carriers()
    })
}

#[test]
fn a_vlan_is_not_allowed() -> Result<()> {
    let node = healthy()?;
    match node.host.ip("link set br-int type bridge vlan_filtering 1") {
        // The kernel was built without.
        Err(error) if format!("{error:#}").contains("Operation not supported") => return Ok(()),
        done => done?,
    }
    node.host.cmd("bridge").args("vlan del dev int-qr vid 1".split(' ')).run()?;
    Answer::sent(&node, SERVER)?.is_for("vlan-not-on-port", "int-qr")
}

#[test]
fn the_router_has_no_way_on() -> Result<()> {
    let node = healthy()?;
    node.router.ip("route del default")?;
    let answer = Answer::sent(&node, "198.51.100.9")?;
    answer.is_for("no-default-route", "default")?;
    answer.is_in("router")?;
    ensure!(answer.hops("there").last().is_some_and(|hop| hop == "qr in router"), "{:#}", answer.json);
    Ok(())
}

#[test]
fn a_route_refuses() -> Result<()> {
    names("no-route", ("203.0.113.10", "router"), |node| node.router.ip("route add blackhole 203.0.113.10"))
}

#[test]
fn a_packet_is_too_long_for_a_router() -> Result<()> {
    names("mtu", ("qg", "router"), |node| node.router.ip("link set qg mtu 1400"))
}

/// Nobody tells the instance.
#[test]
fn a_packet_is_too_long_for_a_bridge() -> Result<()> {
    names("mtu-smaller-on-the-way", ("qvo", ""), |node| node.host.ip("link set qvo mtu 1400"))
}

/// Two ways out, and answers that come by the second one.
#[test]
fn the_reverse_path_is_strict() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip(&format!(
        "link add wan2 type veth peer name eth1 netns out\nlink set wan2 up\naddr add 198.51.100.1/24 dev wan2\n\
         route add default via {SERVER} metric 10\nroute add default via 198.51.100.10 metric 20"
    ))?;
    lab.out.ip(
        "link set eth1 up\naddr add 198.51.100.10/24 dev eth1\nroute add 203.0.113.1/32 via 198.51.100.1",
    )?;
    lab.gw.wait_for_carriers()?;
    for uplink in ["wan", "wan2"] {
        lab.gw
            .cmd("iptables")
            .args(["-t", "nat", "-A", "POSTROUTING", "-o", uplink, "-j", "MASQUERADE"])
            .run()?;
    }
    let cli = lab.natbpf_cli()?;
    let arguments = format!("--from port1 --send {SERVER}");
    Answer::to(&cli, &arguments)?.is_answered()?;
    lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "1")?;
    Answer::to(&cli, &arguments)?.is_for("rp-filter", "wan2")
}
