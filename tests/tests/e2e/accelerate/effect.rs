//! What somebody changes in the host's namespace stops a running flow at once, and it goes on afterwards.

use std::time::Instant;

use anyhow::{Result, ensure};
use lab::Node;

use super::{NEVER, SOON, is_repeated, shell, start};
use crate::e2e::offload::pulse::Pulse;

/// `forbid` stops all that vm1 sends, `permit` undoes it.
fn takes_effect(forbid: &str, permit: &str) -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    let change = Instant::now();
    shell(&node.host, forbid)?;
    let last = pulse.last_answer(change, 2 * SOON);
    ensure!(last < SOON, "answers still came after {last:?}\n{}", natbpf.log());
    shell(&node.host, permit)?;
    pulse.goes_on(5 * SOON)?;
    is_repeated(&natbpf)
}

#[test]
fn a_drop_rule_of_nft_for_bridges() -> Result<()> {
    takes_effect(
        "nft 'add table bridge guard; \
         add chain bridge guard forward { type filter hook forward priority 0; }; \
         add rule bridge guard forward iifname tap0 drop'",
        "nft delete table bridge guard",
    )
}

#[test]
fn a_drop_rule_of_ebtables() -> Result<()> {
    takes_effect("ebtables-nft -A FORWARD -i tap0 -j DROP", "ebtables-nft -F FORWARD")
}

#[test]
fn a_device_between_that_goes_down() -> Result<()> {
    takes_effect("ip link set qvo down", "ip link set qvo up")
}

#[test]
fn a_bridge_that_goes_down() -> Result<()> {
    takes_effect("ip link set br-ex down", "ip link set br-ex up")
}

#[test]
fn a_port_that_leaves_its_bridge() -> Result<()> {
    takes_effect("ip link set qvb nomaster", "ip link set qvb master qbr")
}

/// Two ports that are isolated do not hear each other.
#[test]
fn ports_that_are_isolated() -> Result<()> {
    takes_effect(
        "bridge link set dev tap0 isolated on && bridge link set dev qvb isolated on",
        "bridge link set dev qvb isolated off",
    )
}
