//! An instance in whose packets stands what natbpf might have written there about those of another.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::netns::classid;
use lab::object::Packet;
use lab::wire::Wire;
use lab::{Node, SERVER, VM1};

use super::{SOON, is_repeated, shell, start_between};
use crate::e2e::offload::pulse::Pulse;

/// No longer than what the pulse says: for longer packets the kernel is asked in any case.
const FORGED: &[u8] = b"fake";
/// The pulse's.
const FLOW: [(std::net::Ipv4Addr, u16); 2] = [(VM1, 5000), (SERVER, 9)];

/// The bridge lets nobody but vm1 have vm1's address.
fn guard(node: &Node) -> Result<()> {
    shell(
        &node.host,
        "nft 'add table bridge guard; \
         add chain bridge guard forward { type filter hook prerouting priority -300; }; \
         add rule bridge guard forward iifname tap1 ip saddr 10.0.0.11 drop'",
    )
}

/// How many forged packets have come out at the outside since the last call.
fn forged_outside(outside: &Wire) -> Result<usize> {
    let mut forged = 0;
    while let Some(seen) = outside.next(Duration::ZERO)? {
        forged += usize::from(!seen.outgoing && seen.payload() == FORGED);
    }
    Ok(forged)
}

/// vm2 sends as vm1, every index in turn, while vm1 speaks; returns how many of that came out outside.
fn forged(edges: &[&str], guard: fn(&Node) -> Result<()>) -> Result<usize> {
    let node = Node::new()?;
    guard(&node)?;
    let natbpf = start_between(&node, &[edges, &["--revalidate", "1s"]].concat())?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    let outside = Wire::between(&node.out, "eth0", (&node.router, "qg"))?;
    let neighbour = Wire::between(&node.vm2, "eth0", (&node.router, "qr"))?;
    classid::by_identification(&node.vm2, "eth0")?;
    let packet = Packet::udp(FLOW[0], FLOW[1]).payload(FORGED);
    let mut forged = 0;
    // Paths ask the kernel again meanwhile, which is when something can be learnt.
    for _ in 0..3 {
        for first in (1..=u16::MAX).step_by(4096) {
            let frames =
                (first..=first.saturating_add(4095)).map(|id| neighbour.frame_of(&packet.clone().id(id)));
            neighbour.send_all(frames)?;
            forged += forged_outside(&outside)?;
        }
    }
    thread::sleep(SOON / 10);
    forged += forged_outside(&outside)?;
    pulse.goes_on(SOON).context("vm1 gets no replies any more")?;
    is_repeated(&natbpf)?;
    Ok(forged)
}

#[test]
fn no_index_lets_out_what_the_bridge_drops() -> Result<()> {
    // Also by a device where natbpf has no program that takes the index away.
    for edges in [&["tap0", "tap1", "eth0"][..], &["tap0", "eth0"]] {
        let forged = forged(edges, guard)?;
        ensure!(forged == 0, "{forged} packets that the bridge drops left as vm1's, with {edges:?}");
    }
    Ok(())
}

/// Without a guard they leave, as they do by the kernel alone.
#[test]
fn what_nobody_drops_leaves_and_takes_nothing_over() -> Result<()> {
    let forged = forged(&["tap0", "tap1", "eth0"], |_| Ok(()))?;
    ensure!(forged > 0, "nothing came out: the other test proves nothing");
    Ok(())
}
