//! Headers of packets, and what matters of them.

use natbpf_common::{
    contract::follow::Ends,
    wire::{
        Address, Port,
        protocol::{ICMP, TCP, UDP},
    },
};
use zerocopy::FromBytes;

use crate::memory::At;

/// Types of ICMP that quote the packet they are about: unreachable, quench, redirect, time exceeded, parameter problem.
pub const QUOTING: [u8; 5] = [3, 4, 5, 11, 12];
const ECHO: [u8; 2] = [0, 8];
pub const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];

/// A fixed part of the IPv4 header.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
pub struct Ip {
    pub version: u8,
    pub service: u8,
    pub length: u16,
    pub identification: u16,
    pub fragment: u16,
    pub time_to_live: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source: Address,
    pub destination: Address,
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

/// What matters of a packet.
#[derive(Clone, Copy)]
pub struct Seen {
    pub ends: Ends,
    /// Of what an ICMP error quotes.
    pub quoted: Option<Ends>,
    pub length: u32,
    pub icmp: [u8; 2],
    pub mtu: u32,
    pub time_to_live: u8,
    /// Of ARP: who asks or answers.
    pub sender: Option<[u16; 3]>,
}

#[inline(always)]
pub fn packet(at: At) -> Option<Seen> {
    let ip: Ip = at.read()?;
    let next = at.offset((ip.version as u32 & 0xf) * 4);
    let fragment = u16::from_be(ip.fragment) & 0x1fff != 0;
    let payload: [u16; 4] = if fragment { [0; 4] } else { next.read().unwrap_or_default() };
    let mut seen = Seen {
        ends: ends(&ip, payload),
        quoted: None,
        length: u16::from_be(ip.length) as u32,
        icmp: [0; 2],
        mtu: 0,
        time_to_live: ip.time_to_live,
        sender: None,
    };
    if ip.protocol == ICMP {
        seen.icmp = payload[0].to_ne_bytes();
        if QUOTING.contains(&seen.icmp[0]) {
            let inner: Ip = next.offset(8).read()?;
            let behind = next.offset(8 + (inner.version as u32 & 0xf) * 4);
            seen.quoted = Some(ends(&inner, behind.read().unwrap_or_default()));
            if seen.icmp == FRAGMENTATION_NEEDED {
                seen.mtu = u16::from_be(payload[3]) as u32;
            }
        }
    }
    Some(seen)
}

/// `payload`: what follows the header.
#[inline(always)]
pub fn ends(ip: &Ip, payload: [u16; 4]) -> Ends {
    let (mut from, mut to) = (0, 0);
    if ip.protocol == TCP || ip.protocol == UDP {
        (from, to) = (payload[0], payload[1]);
    } else if ip.protocol == ICMP && ECHO.contains(&payload[0].to_ne_bytes()[0]) {
        (from, to) = (payload[2], payload[2]);
    }
    Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: Port::from_wire(from),
        destination_port: Port::from_wire(to),
        protocol: ip.protocol as u32,
    }
}

#[inline(always)]
pub fn arp(at: At) -> Option<Seen> {
    let packet: ArpPacket = at.read()?;
    let whole = |halves: [u16; 2]| Address::from_wire(halves[0] as u32 | (halves[1] as u32) << 16);
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
        time_to_live: 0,
        sender: Some(packet.sender_mac),
    })
}
