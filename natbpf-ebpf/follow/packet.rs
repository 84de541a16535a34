//! Headers of packets, and what matters of them.

use natbpf_common::{
    contract::follow::{Ends, REPLY, REQUEST},
    wire::{
        Address, Address6, Port,
        protocol::{ICMP, ICMP6, TCP, UDP, extension::FRAGMENT, icmp, icmp6},
    },
};
use zerocopy::FromBytes;

use crate::memory::Bytes;

pub const IPV4: u16 = 0x0800_u16.to_be();
pub const IPV6: u16 = 0x86dd_u16.to_be();
pub const ARP: u16 = 0x0806_u16.to_be();
/// Type and code of ICMP.
const FRAGMENTATION_NEEDED: [u8; 2] = [icmp::DESTINATION_UNREACHABLE, 4];
/// Bytes of the fixed header of IPv6.
const FIXED: u32 = 40;

/// A fixed part of the IPv4 header.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct Ip {
    version: u8,
    service: u8,
    length: u16,
    identification: u16,
    fragment: u16,
    time_to_live: u8,
    protocol: u8,
    checksum: u16,
    source: Address,
    destination: Address,
}

/// The fixed header of IPv6.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct Ip6 {
    flow: u32,
    length: u16,
    next: u8,
    hop_limit: u8,
    source: Address6,
    destination: Address6,
}

/// The header of a fragment of IPv6.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct Fragment {
    next: u8,
    reserved: u8,
    offset: u16,
    identification: u32,
}

/// ARP for IPv4 over Ethernet.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct ArpPacket {
    head: [u16; 3],
    operation: u16,
    sender_mac: [u16; 3],
    sender: [u16; 2],
    target_mac: [u16; 3],
    target: [u16; 2],
}

/// A header of either family.
#[derive(Clone, Copy)]
struct Header {
    source: Address6,
    destination: Address6,
    /// Bytes of the whole packet.
    length: u32,
    /// Bytes of the header.
    bytes: u32,
    protocol: u8,
    time_to_live: u8,
    /// It has no beginning of what the protocol has.
    is_later_fragment: bool,
}

/// What matters of a packet.
#[derive(Clone, Copy)]
pub struct Seen {
    pub ends: Ends,
    /// Of what an ICMP error quotes.
    pub quoted: Option<Ends>,
    pub length: u32,
    pub icmp: [u8; 2],
    pub mtu: u32,
    /// Of TCP: flags and sequence number.
    pub segment: (u8, u32),
    pub time_to_live: u8,
    /// Of ARP and neighbour discovery: who asks or answers.
    pub sender: Option<[u16; 3]>,
}

/// What is at a place, by its EtherType.
#[inline(always)]
pub fn seen(protocol: u16, at: impl Bytes) -> Option<Seen> {
    match protocol {
        IPV4 => {
            let (mut seen, next, payload) = packet(v4, at)?;
            if seen.ends.protocol == ICMP as u32 {
                seen.icmp = payload[0].to_ne_bytes();
                if matches!(icmp::classify(seen.icmp[0]), icmp::Message::Error) {
                    seen.quoted = Some(quoted(v4, next)?);
                    seen.mtu =
                        if seen.icmp == FRAGMENTATION_NEEDED { u16::from_be(payload[3]) as u32 } else { 0 };
                }
            }
            Some(seen)
        }
        IPV6 => {
            let (mut seen, next, payload) = packet(v6, at)?;
            if seen.ends.protocol == ICMP6 as u32 {
                seen.icmp = payload[0].to_ne_bytes();
                let kind = seen.icmp[0];
                if matches!(icmp6::classify(kind), icmp::Message::Error) {
                    seen.quoted = Some(quoted(v6, next)?);
                    let mtu = (payload[2] as u32) | (payload[3] as u32) << 16;
                    seen.mtu = if kind == icmp6::PACKET_TOO_BIG { u32::from_be(mtu) } else { 0 };
                } else if kind == icmp6::NEIGHBOUR_SOLICITATION || kind == icmp6::NEIGHBOUR_ADVERTISEMENT {
                    discovery(&mut seen, next)?;
                }
            }
            Some(seen)
        }
        ARP => arp(at),
        _ => None,
    }
}

/// A packet, where it goes on behind its header, and what is there first.
#[inline(always)]
fn packet<B: Bytes>(header: impl Fn(B) -> Option<Header>, at: B) -> Option<(Seen, B, [u16; 4])> {
    let header = header(at)?;
    let next = at.offset(header.bytes);
    let (mut payload, _): ([u16; 4], _) = next.load();
    if header.is_later_fragment {
        payload = [0; 4];
    }
    let seen = Seen {
        ends: ends(&header, payload),
        quoted: None,
        length: header.length,
        icmp: [0; 2],
        mtu: 0,
        segment: segment(&header, next, payload),
        time_to_live: header.time_to_live,
        sender: None,
    };
    Some((seen, next, payload))
}

/// Of TCP: its flags, and the sequence number. `payload`: what follows the header.
#[inline(always)]
fn segment(header: &Header, at: impl Bytes, payload: [u16; 4]) -> (u8, u32) {
    if header.protocol != TCP || header.is_later_fragment {
        return (0, 0);
    }
    let (flags, _) = at.offset(13).load();
    (flags, u32::from_be((payload[2] as u32) | (payload[3] as u32) << 16))
}

/// `at`: an ICMP error.
#[inline(always)]
fn quoted<B: Bytes>(header: impl Fn(B) -> Option<Header>, at: B) -> Option<Ends> {
    let inner = at.offset(8);
    let header = header(inner)?;
    Some(ends(&header, inner.offset(header.bytes).load().0))
}

#[inline(always)]
fn v4(at: impl Bytes) -> Option<Header> {
    let ip: Ip = at.read()?;
    Some(Header {
        source: Address6::mapped(ip.source),
        destination: Address6::mapped(ip.destination),
        length: u16::from_be(ip.length) as u32,
        bytes: (ip.version as u32 & 0xf) * 4,
        protocol: ip.protocol,
        time_to_live: ip.time_to_live,
        is_later_fragment: u16::from_be(ip.fragment) & 0x1fff != 0,
    })
}

/// Of extension headers that of a fragment is passed by; a packet with others has no ports here.
#[inline(always)]
fn v6(at: impl Bytes) -> Option<Header> {
    let ip: Ip6 = at.read()?;
    let (mut bytes, mut protocol, mut is_later_fragment) = (FIXED, ip.next, false);
    if protocol == FRAGMENT {
        let fragment: Fragment = at.offset(FIXED).read()?;
        (bytes, protocol) = (FIXED + size_of::<Fragment>() as u32, fragment.next);
        is_later_fragment = u16::from_be(fragment.offset) & 0xfff8 != 0;
    }
    Some(Header {
        source: ip.source,
        destination: ip.destination,
        length: FIXED + u16::from_be(ip.length) as u32,
        bytes,
        protocol,
        time_to_live: ip.hop_limit,
        is_later_fragment,
    })
}

/// `payload`: what follows the header.
#[inline(always)]
fn ends(header: &Header, payload: [u16; 4]) -> Ends {
    let (mut from, mut to) = (0, 0);
    let kind = payload[0].to_ne_bytes()[0];
    let is_echo = match header.protocol {
        ICMP => kind == icmp::ECHO_REQUEST || kind == icmp::ECHO_REPLY,
        ICMP6 => kind == icmp6::ECHO_REQUEST || kind == icmp6::ECHO_REPLY,
        _ => false,
    };
    if header.protocol == TCP || header.protocol == UDP {
        (from, to) = (payload[0], payload[1]);
    } else if is_echo {
        (from, to) = (payload[2], payload[2]);
    }
    Ends {
        source: header.source,
        destination: header.destination,
        source_port: Port::from_wire(from),
        destination_port: Port::from_wire(to),
        protocol: header.protocol as u32,
    }
}

#[inline(always)]
fn arp(at: impl Bytes) -> Option<Seen> {
    let packet: ArpPacket = at.read()?;
    let whole =
        |halves: [u16; 2]| Address6::mapped(Address::from_wire(halves[0] as u32 | (halves[1] as u32) << 16));
    let (sender, target) = (whole(packet.sender), whole(packet.target));
    let ends = Ends {
        source: sender,
        destination: target,
        protocol: u16::from_be(packet.operation) as u32,
        ..Ends::default()
    };
    Some(Seen {
        ends,
        quoted: None,
        length: 28,
        icmp: [0; 2],
        mtu: 0,
        segment: (0, 0),
        time_to_live: 0,
        sender: Some(packet.sender_mac),
    })
}

/// A solicitation or an advertisement, which stands at `at`: the target, and one option with a hardware address
/// (RFC 4861, sections 4.3 and 4.4).
#[inline(always)]
fn discovery(seen: &mut Seen, at: impl Bytes) -> Option<()> {
    let target: Address6 = at.offset(8).read()?;
    if seen.icmp[0] == icmp6::NEIGHBOUR_SOLICITATION {
        (seen.ends.destination, seen.ends.protocol) = (target, REQUEST);
    } else {
        (seen.ends.source, seen.ends.protocol) = (target, REPLY);
    }
    let ([_, a, b, c], _): ([u16; 4], _) = at.offset(24).load();
    seen.sender = Some([a, b, c]);
    Some(())
}
