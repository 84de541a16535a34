//! Frames that somebody made up: the kernel decides about them as if natbpf were not there.
//!
//! Who is root in a network namespace sets `skb->tc_index` of what leaves it, and a packet keeps it on its way over a
//! veth. natbpf writes there what its own programs are to know of a packet, and must believe nobody else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::object::{End, Packet};
use lab::wire::Wire;
use lab::{Kind, Lab, Options, SERVER, VM1};

use super::offload::{is_offloaded, pulse::Pulse, start};
use super::twin::{each, selected, standard_rule};

mod digest;
mod every;
mod index;
mod inward;
mod origin;
mod reply;

/// What forged packets say, so that they are found again. It is no longer than what true ones say: for longer
/// packets the kernel is asked in any case.
const FORGED: &[u8] = b"fake";

/// Until the answers of a running flow have to be there again, or something else has to be true. Far less
/// than a minute, after which every flow asks the kernel again.
const SOON: Duration = Duration::from_secs(5);

/// The flow of a [`Pulse`].
const FLOW: [End; 2] = [(VM1, 5000), (SERVER, 9)];

fn routed() -> Options {
    Options { bridge: false, ..Options::default() }
}

/// The firewall of the bridge: vm2 sends with its own addresses, or not at all.
fn guard_the_bridge(lab: &Lab) -> Result<()> {
    let link = lab::netns::link::colons(lab::link_address(&lab.vm2, "eth0")?);
    let rules = format!(
        "add table bridge guard; \
         add chain bridge guard ports {{ type filter hook prerouting priority -300; policy accept; }}; \
         add rule bridge guard ports iifname \"port2\" ip saddr != {} drop; \
         add rule bridge guard ports iifname \"port2\" ether saddr != {link} drop",
        lab::VM2
    );
    lab.gw.cmd("nft").arg(rules).run()
}

/// The same where there is no bridge: the kernel drops what it would not answer by the same port.
fn guard_the_routes(lab: &Lab) -> Result<()> {
    ["all", "port1", "port2"]
        .iter()
        .try_for_each(|device| lab.gw.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "1"))
}

/// What came out at the outside since the last call: how many forged packets, and no packet with an inside source.
fn forged_outside(outside: &Wire) -> Result<usize> {
    let mut forged = 0;
    while let Some(seen) = outside.next(Duration::ZERO)? {
        let inside = seen.src().octets()[..3] == [10, 0, 0];
        ensure!(!inside || seen.outgoing, "left untranslated: {seen:?}");
        forged += usize::from(!seen.outgoing && seen.payload().starts_with(FORGED));
    }
    Ok(forged)
}
