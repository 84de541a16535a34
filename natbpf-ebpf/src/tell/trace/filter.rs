//! What a filter looks at in a packet.

use natbpf_common::{
    contract::trace::Tuple,
    wire::protocol::{
        DCCP, SCTP, TCP, UDP, UDPLITE,
        extension::{self, FRAGMENT},
    },
};
use network_types::{eth::EtherType, vlan::VlanHdr};
use zerocopy::FromBytes;

use super::buffer::Buffer;

/// How many tags of VLANs are looked behind, besides one that the kernel keeps beside the packet.
const TAGS: u32 = 2;
/// How many extension headers of IPv6 are looked behind.
const EXTENSIONS: u32 = 4;

/// Offset of the fragment within its datagram.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
const FRAGMENT_OFFSET6: u16 = 0xfff8_u16.to_be();

/// The beginning of an extension header of IPv6.
#[derive(FromBytes)]
#[repr(C)]
struct Extension {
    next: u8,
    length: u8,
    /// Of a fragment: where it belongs in its datagram.
    fragment: u16,
}

/// An IPv4 header without options.
#[derive(FromBytes)]
#[repr(C)]
struct V4 {
    length: [u8; 6],
    fragment: u16,
    protocol: [u8; 4],
    source: u32,
    destination: u32,
}

/// An IPv6 header.
#[derive(FromBytes)]
#[repr(C)]
struct V6 {
    protocol: [u8; 8],
    source: [u64; 2],
    destination: [u64; 2],
}

#[inline(always)]
pub fn tuple(buffer: &impl Buffer) -> Tuple {
    read(buffer).unwrap_or_default()
}

#[inline(always)]
fn read(buffer: &impl Buffer) -> Option<Tuple> {
    let (mut protocol, mut network) = buffer.network();
    for _ in 0..TAGS {
        if protocol == EtherType::Ieee8021q as u16 || protocol == EtherType::Ieee8021ad as u16 {
            protocol = buffer.load(network, 2)?;
            network += VlanHdr::LEN as u32;
        }
    }
    if protocol == EtherType::Ipv4 as u16 {
        v4(buffer, network)
    } else if protocol == EtherType::Ipv6 as u16 {
        v6(buffer, network)
    } else {
        None
    }
}

#[inline(always)]
fn v4(buffer: &impl Buffer, network: u32) -> Option<Tuple> {
    let header: V4 = buffer.load(network, 0)?;
    let tuple = Tuple {
        source: [header.source as u64, 0],
        destination: [header.destination as u64, 0],
        version: 4,
        protocol: header.protocol[1] as u32,
        ..Tuple::default()
    };
    if header.fragment & FRAGMENT_OFFSET != 0 {
        return Some(tuple);
    }
    Some(with_ports(tuple, buffer, network, (header.length[0] as u32 & 15) * 4))
}

#[inline(always)]
fn v6(buffer: &impl Buffer, network: u32) -> Option<Tuple> {
    let header: V6 = buffer.load(network, 0)?;
    let mut tuple =
        Tuple { source: header.source, destination: header.destination, version: 6, ..Tuple::default() };
    let (mut next, mut at) = (header.protocol[6], size_of::<V6>() as u32);
    for _ in 0..EXTENSIONS {
        if !extension::is_one(next) {
            break;
        }
        let Some(header) = buffer.load::<Extension>(network, at) else { break };
        let is_later = next == FRAGMENT && header.fragment & FRAGMENT_OFFSET6 != 0;
        at += extension::size(next, header.length);
        next = header.next;
        if is_later {
            tuple.protocol = next as u32;
            return Some(tuple);
        }
    }
    tuple.protocol = next as u32;
    Some(with_ports(tuple, buffer, network, at))
}

#[inline(always)]
fn with_ports(tuple: Tuple, buffer: &impl Buffer, network: u32, transport: u32) -> Tuple {
    let protocol = tuple.protocol as u8;
    let has =
        protocol == TCP || protocol == UDP || protocol == SCTP || protocol == DCCP || protocol == UDPLITE;
    if !has {
        return tuple;
    }
    match buffer.load::<[u16; 2]>(network, transport) {
        Some([sport, dport]) => Tuple { sport, dport, has_ports: true, ..tuple },
        None => tuple,
    }
}
