//! IPv4 addresses of interfaces, and what a message says of one.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use natbpf_common::IfIndex;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Address {
    /// Interface index.
    pub interface: IfIndex,
    pub local: Ipv4Addr,
    /// The other end of a point-to-point link, else `local` again; the subnet is that of this address.
    pub peer: Ipv4Addr,
    pub prefix_length: u8,
    /// `RT_SCOPE_` number.
    pub scope: u8,
    /// `IFA_F_SECONDARY`
    pub secondary: bool,
}

impl Ipv4Address {
    /// `RT_SCOPE_UNIVERSE`
    pub const SCOPE_GLOBAL: u8 = 0;
    /// `RT_SCOPE_LINK`
    pub const SCOPE_LINK: u8 = 253;
    /// `RT_SCOPE_HOST`
    pub const SCOPE_HOST: u8 = 254;

    /// Its subnet.
    pub fn network(&self) -> Option<Ipv4Net> {
        Some(Ipv4Net::new(self.peer, self.prefix_length).ok()?.trunc())
    }
}

pub fn address(message: &AddressMessage) -> Option<Ipv4Address> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) => peer = Some(*address),
            _ => {}
        }
    }
    let local = local.or(peer)?;
    Some(Ipv4Address {
        interface: IfIndex::new(message.header.index),
        local,
        peer: peer.unwrap_or(local),
        prefix_length: message.header.prefix_len,
        scope: message.header.scope.into(),
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
    })
}
