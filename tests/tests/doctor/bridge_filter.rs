//! Rules for what is bridged.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;
use lab::{Node, SERVER, VM2};

use super::examination::{Examination, healthy, iptables, names_what_stops};

const CALL: &str = "net.bridge.bridge-nf-call-iptables";

#[test]
fn what_is_bridged_is_dropped() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl(CALL, "1")?;
    ensure!(ping(&lab.vm1, VM2, "-c 1")?.received == 1, "the lab is not healthy");
    iptables(&lab, "-P FORWARD DROP\n-A FORWARD -i br0 -o wan -j ACCEPT\n-A FORWARD -i wan -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("bridged-dropped", "br0")?;
    ensure!(ping(&lab.vm1, VM2, "-c 1")?.received == 0, "a ping is answered all the same");
    lab.gw.sysctl(CALL, "0")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(ping(&lab.vm1, VM2, "-c 1")?.received == 1, "nobody is asked, and a ping is not answered");
    Ok(())
}

/// All who talk are behind one port, as the others of a network are behind a host's network card.
#[test]
fn what_no_other_port_is_for_is_no_cause() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl(CALL, "1")?;
    lab.vm1.ip("addr add 10.0.0.21/24 dev eth0")?;
    lab.gw.ip("link set port2 down")?;
    for address in ["10.0.0.11", "10.0.0.21"] {
        ensure!(ping(&lab.gw, address, "-c 1")?.received == 1);
    }
    iptables(&lab, "-P FORWARD DROP\n-A FORWARD -i br0 -o wan -j ACCEPT\n-A FORWARD -i wan -j ACCEPT")?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    ensure!(!found.causes().iter().any(|(cause, _)| *cause == "bridged-dropped"), "{:#}", found.report);
    Ok(())
}

/// One bridge may ask by itself.
#[test]
fn one_bridge_asks() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl(CALL, "0")?;
    lab.gw.ip("link set br0 type bridge nf_call_iptables 1")?;
    ensure!(ping(&lab.vm1, VM2, "-c 1")?.received == 1, "the lab is not healthy");
    iptables(&lab, "-P FORWARD DROP\n-A FORWARD -i br0 -o wan -j ACCEPT\n-A FORWARD -i wan -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("bridged-dropped", "br0")?;
    ensure!(ping(&lab.vm1, VM2, "-c 1")?.received == 0, "a ping is answered all the same");
    Ok(())
}

#[test]
fn a_port_may_send_nothing() -> Result<()> {
    names_what_stops("port-dropped", "port1", |lab| {
        lab.gw.sysctl(CALL, "1")?;
        iptables(
            lab,
            "-N port1-out\n-A FORWARD -m physdev --physdev-in port1 -j port1-out\n-A port1-out -j DROP",
        )
    })
}

/// A security group of a cloud's node, where the router is in another namespace.
#[test]
fn a_port_of_a_node_may_send_nothing() -> Result<()> {
    let node = Node::new()?;
    node.router.ip(&format!("route add default via {SERVER}"))?;
    node.host.sysctl(CALL, "1")?;
    let iptables = |rule: &str| node.host.cmd("iptables").args(rule.split(' ')).run();
    iptables("-A FORWARD -m physdev --physdev-in tap1 --physdev-is-bridged -j DROP")?;
    iptables("-A FORWARD -m physdev --physdev-in tap0 --physdev-is-bridged -s 10.0.0.11 -j ACCEPT")?;
    Examination::of(&node.natbpf_cli()?)?.is_alone("port-dropped", "tap1")?;
    ensure!(ping(&node.vm1, SERVER, "-c 1")?.received == 1, "the other port may send");
    ensure!(ping(&node.vm2, SERVER, "-c 1")?.received == 0, "a ping is answered all the same");
    Ok(())
}
