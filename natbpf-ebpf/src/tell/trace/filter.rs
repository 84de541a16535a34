//! What a filter looks at in a packet.

use natbpf_common::{
    contract::trace::Tuple,
    wire::protocol::{DCCP, SCTP, TCP, UDP, UDPLITE},
};
use network_types::eth::EtherType;
use zerocopy::FromBytes;

use super::buffer::Buffer;

/// Offset of the fragment within its datagram.
const FRAGMENT: u16 = 0x1fff_u16.to_be();

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
    let (protocol, network) = buffer.network();
    let found = if protocol == EtherType::Ipv4 as u16 {
        v4(buffer, network)
    } else if protocol == EtherType::Ipv6 as u16 {
        v6(buffer, network)
    } else {
        None
    };
    found.unwrap_or_default()
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
    if header.fragment & FRAGMENT != 0 {
        return Some(tuple);
    }
    Some(with_ports(tuple, buffer, network, (header.length[0] as u32 & 15) * 4))
}

#[inline(always)]
fn v6(buffer: &impl Buffer, network: u32) -> Option<Tuple> {
    let header: V6 = buffer.load(network, 0)?;
    let tuple = Tuple {
        source: header.source,
        destination: header.destination,
        version: 6,
        protocol: header.protocol[6] as u32,
        ..Tuple::default()
    };
    Some(with_ports(tuple, buffer, network, size_of::<V6>() as u32))
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
