//! Nothing is dropped, and nobody answers.

use anyhow::Result;
use lab::SERVER;

use super::asking::{Answer, healthy, names};

#[test]
fn nothing_masquerades() -> Result<()> {
    names("not-translated", ("10.0.0.0/24", "router"), |node| {
        node.router.cmd("iptables").args(["-t", "nat", "-F"]).run()
    })
}

#[test]
fn the_instance_has_a_wrong_gateway() -> Result<()> {
    names("gateway-silent", ("10.0.0.254", "vm1"), |node| node.vm1.ip("route replace default via 10.0.0.254"))
}

#[test]
fn the_instance_has_no_route() -> Result<()> {
    names("instance-no-default-route", ("eth0", "vm1"), |node| node.vm1.ip("route del default"))
}

#[test]
fn nobody_has_the_destination() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::sent(&node, "203.0.113.99")?;
    answer.is_for("neighbour-silent", "203.0.113.99")?;
    answer.is_in("router")
}

#[test]
fn the_destination_answers_no_ping() -> Result<()> {
    names("ping-ignored", ("icmp_echo_ignore_all", "out"), |node| {
        node.out.sysctl("net.ipv4.icmp_echo_ignore_all", "1")
    })
}

/// What arrives is answered to nowhere.
#[test]
fn the_destination_has_no_way_back() -> Result<()> {
    let node = healthy()?;
    // Its own network is the router's no more.
    node.out.ip(&format!(
        "addr flush dev eth0\naddr add {SERVER}/32 dev eth0\nroute add unreachable 203.0.113.1"
    ))?;
    Answer::sent(&node, SERVER)?.is_for("no-way-back", "203.0.113.1")
}
