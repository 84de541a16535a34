//! Machines whose namespaces natbpf does not see: no command is said that would be typed there.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;
use lab::{Namespace, Node, SERVER};

use super::asking::{Answer, healthy};

/// Nobody of this network.
const NOBODY: &str = "10.0.0.99";

/// Takes the name away by which there is a way into a namespace.
pub fn hide(node: &Node, namespace: &Namespace) -> Result<()> {
    node.host.cmd("ip").args(["netns", "del", namespace.name()]).run()
}

/// As a guest is: a station at a port, and a neighbour of the router.
fn with_a_guest() -> Result<Node> {
    let node = healthy()?;
    ping(&node.vm1, SERVER, "-c 1")?;
    hide(&node, &node.vm1)?;
    Ok(node)
}

#[test]
fn a_guest_is_followed() -> Result<()> {
    let node = with_a_guest()?;
    let answer = Answer::sent(&node, SERVER)?;
    ensure!(answer.json["from"]["namespace"].is_null(), "{:#}", answer.json);
    answer.is_answered()
}

#[test]
fn a_destination_on_the_guests_network_is_no_gateway() -> Result<()> {
    let node = with_a_guest()?;
    let answer = Answer::sent(&node, NOBODY)?;
    answer.is_without_mend("neighbour-silent", NOBODY)?;
    let sentence = answer.json["cause"]["sentence"].to_string();
    ensure!(sentence.contains("on its own network") && !sentence.contains("gateway"), "{sentence}");
    Ok(())
}

#[test]
fn a_destination_on_the_instances_network_is_no_gateway() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::sent(&node, NOBODY)?;
    answer.is_for("neighbour-silent", NOBODY)?;
    ensure!(answer.mends() == [format!("ip netns exec vm1 arping -I eth0 {NOBODY}")], "{:#}", answer.json);
    Ok(())
}

#[test]
fn a_rule_of_a_router_that_is_not_seen() -> Result<()> {
    let node = healthy()?;
    node.router.cmd("iptables").args(["-P", "FORWARD", "DROP"]).run()?;
    hide(&node, &node.router)?;
    let answer = Answer::sent(&node, SERVER)?;
    answer.is_without_mend("dropped-by-rule", "rules")?;
    ensure!(answer.json["cause"]["sentence"].to_string().contains("that is not seen"), "{:#}", answer.json);
    Ok(())
}
