//! Offload changes nothing of what the kernel makes of a packet: each of these is also right with iptables alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{Lab, Translation, becomes_true};

/// Counters of packets that natbpf repeats.
const OUT: &str = "egress_offloaded";
const BACK: &str = "ingress_offloaded";

mod checksum;
mod length;
mod multicast;
mod priority;
mod service;

/// Sends `packet` until natbpf repeats such packets, some times where nothing repeats. `counter` is
/// `egress_offloaded` or `ingress_offloaded`.
fn warm_up(wire: &Wire, packet: &Packet, nat: &Translation<'_>, counter: &str) -> Result<()> {
    let Translation::Natbpf(natbpf) = nat else {
        return (0..5).try_for_each(|_| wire.send(packet));
    };
    let before = natbpf.counter(counter)?;
    let is_repeated = || {
        wire.send(packet)?;
        Ok(natbpf.counter(counter)? > before)
    };
    ensure!(
        becomes_true(Duration::from_secs(3), is_repeated)?,
        "natbpf repeats nothing: this would prove nothing"
    );
    Ok(())
}

/// The same of both directions: `question` from an instance, and `reply` from outside.
fn warm_up_both(
    (instance, question): (&Wire, &Packet),
    (outside, reply): (&Wire, &Packet),
    nat: &Translation<'_>,
) -> Result<()> {
    let warm = || {
        warm_up(instance, question, nat, OUT)?;
        warm_up(outside, reply, nat, BACK)
    };
    // A neighbour that is found meanwhile has both directions ask the kernel again, and replies are noted only while
    // questions are.
    warm().or_else(|_| warm())
}

/// vm1's end of a lab with a bridge.
fn instance(lab: &Lab) -> Result<Wire> {
    Wire::between(&lab.vm1, "eth0", (&lab.gw, "br0"))
}
