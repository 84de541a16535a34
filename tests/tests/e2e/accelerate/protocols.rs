//! Protocols without ports.

use anyhow::{Result, ensure};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{GATEWAY, Namespace, Natbpf, Node, SERVER, VM1, VM2};

use super::{NEVER, repeated, start_between};

const PACKETS: u16 = 100;
/// For experiments (RFC 3692).
const UNKNOWN: u8 = 253;
const GRE: u8 = 47;

/// Sends packets of a protocol from vm1, all of which have to arrive; returns how many were repeated.
fn send(node: &Node, natbpf: &Natbpf, packet: &Packet, to: Receiver<'_>) -> Result<u64> {
    let before = repeated(natbpf)?;
    let wire = Wire::between(&node.vm1, "eth0", to.next)?;
    let arriving = Wire::between(to.namespace, "eth0", (&node.vm1, "eth0"))?;
    for id in 1..=PACKETS {
        wire.send(&packet.clone().id(id))?;
        let seen = arriving.expect(|seen| seen.protocol() == packet_protocol(packet) && seen.id() == id)?;
        ensure!(seen.src() == to.source, "it came from {}", seen.src());
    }
    Ok(repeated(natbpf)? - before)
}

/// Where packets are to arrive, and how.
struct Receiver<'a> {
    namespace: &'a Namespace,
    /// Device that vm1 sends frames to.
    next: (&'a Namespace, &'a str),
    source: std::net::Ipv4Addr,
}

fn packet_protocol(packet: &Packet) -> u8 {
    packet.ip_bytes()[9]
}

#[test]
fn any_protocol_is_repeated_on_a_bridge() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    let to = || Receiver { namespace: &node.vm2, next: (&node.vm2, "eth0"), source: VM1 };
    for protocol in [UNKNOWN, GRE] {
        let packet = Packet::other(protocol, VM1, VM2).payload(*b"whatever this protocol has in it");
        let repeated = send(&node, &natbpf, &packet, to())?;
        ensure!(repeated > 90, "of {PACKETS} packets of protocol {protocol} {repeated} were repeated");
    }
    Ok(())
}

/// natbpf does not know whether an unknown protocol has the addresses in a checksum.
#[test]
fn translated_are_those_alone_whose_checksums_are_known() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "eth0", "--revalidate", NEVER])?;
    let to = || Receiver { namespace: &node.out, next: (&node.router, "qr"), source: GATEWAY };
    let packet = |protocol| Packet::other(protocol, VM1, SERVER).payload([0; 32]);
    let repeated = send(&node, &natbpf, &packet(GRE), to())?;
    ensure!(repeated > 90, "of {PACKETS} packets of GRE {repeated} were repeated\n{}", natbpf.status()?);
    let repeated = send(&node, &natbpf, &packet(UNKNOWN), to())?;
    ensure!(repeated == 0, "{repeated} packets of an unknown protocol were repeated");
    Ok(())
}
