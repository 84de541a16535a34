//! The ICMP error that tells a sender that its packet found no room (RFC 5508 REQ-8, RFC 6888 REQ-11B).

use std::net::Ipv4Addr;

use natbpf_common::{
    contract::{
        counter::{DropReason, Told},
        notice::QUOTED,
    },
    wire::{
        checksum,
        protocol::{
            self,
            icmp::{self, Message},
        },
    },
};

use super::{
    own::Own,
    packet::{HEADER, Packet},
};

/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;

/// "Host Unreachable" (RFC 792): there is no room, port or address.
const HOST_UNREACHABLE: u8 = 1;

/// "Communication Administratively Prohibited" (RFC 1812, section 5.2.7.1): the source has a limit, and has reached it.
const PROHIBITED: u8 = 13;

/// RFC 1812, section 4.3.2.2: as anything that the host begins.
const TTL: u8 = 64;

/// The precedence "internetwork control".
const CONTROL: u8 = 6 << 5;

/// The type of service without the precedence, and without the bit that is ECN's today: the kernel's `RT_TOS`.
const SERVICE: u8 = 0x1e;

/// An IPv4 packet to be sent. Source, identification and header checksum are left to the kernel (raw(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub to: Ipv4Addr,
    pub bytes: Vec<u8>,
}

/// The answer to a packet that was dropped for this reason; `None`: it gets none.
///
/// The packet is quoted as it came to the uplink. Its time to live has been decremented already, which need not be
/// undone (RFC 1812, section 4.3.2.3), and the kernel does not undo it in its own errors either.
pub fn answer(reason: DropReason, packet: &Packet<'_>, own: &Own) -> Option<Answer> {
    let code = match reason.told() {
        Told::Unreachable => HOST_UNREACHABLE,
        Told::Prohibited => PROHIBITED,
        Told::Nothing => return None,
    };
    if !may_be_answered(packet, own) {
        return None;
    }
    let quote = &packet.bytes()[..packet.bytes().len().min(QUOTED)];
    let length = HEADER + ICMP_HEADER + quote.len();
    let mut bytes = Vec::with_capacity(length);
    // RFC 1812, section 4.3.2.5.
    bytes.extend([0x45, packet.tos() & SERVICE | CONTROL]);
    bytes.extend((length as u16).to_be_bytes());
    // No identification yet, and no flags.
    bytes.extend([0; 4]);
    bytes.extend([TTL, protocol::ICMP, 0, 0]);
    bytes.extend(Ipv4Addr::UNSPECIFIED.octets());
    bytes.extend(packet.source().octets());
    bytes.extend([icmp::DESTINATION_UNREACHABLE, code, 0, 0, 0, 0, 0, 0]);
    bytes.extend(quote);
    let sum = internet_checksum(&bytes[HEADER..]);
    bytes[HEADER + 2..HEADER + 4].copy_from_slice(&sum.to_be_bytes());
    Some(Answer { to: packet.source(), bytes })
}

/// RFC 1812, section 4.3.2.7. What the host itself sends is no concern of ICMP either: it has the counters. Row I29.
fn may_be_answered(packet: &Packet<'_>, own: &Own) -> bool {
    !packet.is_later_fragment()
        && own.is_host(packet.source())
        && own.is_host(packet.destination())
        && !own.has(packet.source())
        && (packet.protocol() != protocol::ICMP || is_query(packet))
}

/// An ICMP message that is known not to be an error itself.
fn is_query(packet: &Packet<'_>) -> bool {
    let message = packet.first_of_payload().map(icmp::classify);
    matches!(message, Some(Message::Request(_) | Message::Reply(_)))
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    !checksum::fold(words.map(|word| u32::from(u16::from_be_bytes(word))).sum())
}

#[cfg(test)]
mod tests;
