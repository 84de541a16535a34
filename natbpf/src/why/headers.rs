//! Headers of frames, of either family.

use std::net::IpAddr;

use natbpf_common::wire::{checksum, protocol::ICMP};

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Who sends, and to whom; both are of one family.
pub type Between = (IpAddr, IpAddr);

/// Bytes of the IP header for a destination.
pub const fn length(destination: IpAddr) -> usize {
    if destination.is_ipv6() { 40 } else { 20 }
}

pub fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes()].concat()
}

/// A frame with a packet. Routers may not cut it, so that it is told what is too long.
pub fn frame(
    (to, from): ([u8; 6], [u8; 6]),
    (source, destination): Between,
    (protocol, hops): (u8, u8),
    payload: &[u8],
) -> Vec<u8> {
    let addresses = [octets(source), octets(destination)].concat();
    let length = payload.len() as u16;
    if destination.is_ipv6() {
        let head = [0x6000, 0, length].map(u16::to_be_bytes).concat();
        return [ethernet(to, from, IPV6), head, vec![protocol, hops], addresses, payload.to_vec()].concat();
    }
    let mut ip = [0x4500, 20 + length, 0, 0x4000].map(u16::to_be_bytes).concat();
    ip.extend([hops, protocol, 0, 0]);
    ip.extend(addresses);
    let sum = !checksum::fold(sum(&ip));
    ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    [ethernet(to, from, IPV4), ip, payload.to_vec()].concat()
}

/// With the checksum at an offset. That of ICMP has no part of the IP header in it.
pub fn checked((source, destination): Between, protocol: u8, mut packet: Vec<u8>, at: usize) -> Vec<u8> {
    let mut pseudo = Vec::new();
    if protocol != ICMP {
        pseudo = [octets(source), octets(destination)].concat();
        // Of IPv6 both are longer, by zeros that add nothing.
        pseudo.extend([0, protocol]);
        pseudo.extend((packet.len() as u16).to_be_bytes());
    }
    let sum = !checksum::fold(sum(&pseudo) + sum(&packet));
    // 0 would say that there is none.
    packet[at..at + 2].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_ne_bytes());
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Of 16-bit words in the order of the packet; an odd last byte has a zero behind it.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]);
    bytes.chunks(2).map(|pair| u32::from(word(pair))).sum()
}
