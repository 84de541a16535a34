//! Port forwards and floating addresses as entries of a map that is asked for the longest prefix.

use std::net::Ipv4Addr;

use natbpf_common::{
    Address, IfIndex, Port,
    contract::forwards::{Forward, ForwardFlags, ForwardKey},
    wire::protocol::{TCP, UDP},
};

use super::{PlannedUplink, ports};
use crate::{
    config::{Floating, PortForward, Protocol},
    network::{Ipv4Address, Snapshot},
};

/// An entry of the longest-prefix map of forwards: the length of its prefix, its key, its value.
pub type ForwardEntry = (u32, ForwardKey, Forward);

/// Bits of a prefix that come before the port.
pub const BASE: u32 = ForwardKey::PORT_BITS - 16;

/// The entry of a floating address.
pub fn floating(interface: IfIndex, floating: &Floating) -> ForwardEntry {
    let key = ForwardKey {
        uplink: interface,
        address: Address::from(floating.pair.external),
        protocol: 0,
        reserved: 0,
        port: Port::new(0),
    };
    let address = Address::from(floating.pair.inside);
    (ForwardKey::ADDRESS_BITS, key, Forward { address, port_offset: 0, flags: ForwardFlags::FIXED })
}

/// The external addresses of a forward.
pub fn externals(uplink: &PlannedUplink, forward: &PortForward, snapshot: &Snapshot) -> Vec<Ipv4Addr> {
    if let Some(address) = forward.redirection.address {
        return vec![address];
    }
    let mut addresses: Vec<Ipv4Addr> = uplink.addresses().collect();
    for address in &snapshot.addresses {
        let reachable = address.interface == uplink.interface && address.scope < Ipv4Address::SCOPE_HOST;
        if reachable && !addresses.contains(&address.local) {
            addresses.push(address.local);
        }
    }
    addresses
}

/// The entries of a forward by one of its addresses.
pub fn entries(uplink: &PlannedUplink, forward: &PortForward, external: Ipv4Addr) -> Vec<ForwardEntry> {
    let redirection = &forward.redirection;
    // The datapath looks among the uplink's own addresses for that of a flow, unless it is told not to.
    let flags = if uplink.has(external) { ForwardFlags::empty() } else { ForwardFlags::POOL };
    let value =
        Forward { address: Address::from(redirection.to.address), port_offset: redirection.offset(), flags };
    let prefixes = ports::prefixes(redirection.ports.first(), redirection.ports.last());
    let of_protocol = |protocol: &Protocol| {
        let protocol = match protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        prefixes.iter().map(move |prefix| {
            let port = Port::new(prefix.first);
            let address = Address::from(external);
            let key = ForwardKey { uplink: uplink.interface, address, protocol, reserved: 0, port };
            (BASE + u32::from(prefix.length), key, value)
        })
    };
    redirection.protocols().iter().flat_map(of_protocol).collect()
}

/// First and last port of a prefix.
pub fn range(length: u32, key: &ForwardKey) -> (u16, u16) {
    let free = ForwardKey::PORT_BITS - length;
    let first = key.port.number();
    (first, first | ((1u32 << free) - 1) as u16)
}

/// Whether most ports of an uplink lead inside by these, its own: if flows avoided those there would be hardly any left
/// for them.
pub fn leads_mostly_inside(uplink: &PlannedUplink, forwards: &[ForwardEntry]) -> bool {
    // The first of the ports that flows mostly have.
    const FIRST: u32 = 1024;
    let ports = |(length, key, _): &ForwardEntry| {
        let (first, last) = range(*length, key);
        (u32::from(last) + 1).saturating_sub(FIRST.max(first.into()))
    };
    uplink.uplink.addresses.iter().any(|address| {
        [TCP, UDP].into_iter().any(|protocol| {
            let here = forwards.iter().filter(|(length, key, _)| {
                *length >= BASE && key.protocol == protocol && key.address == address.local
            });
            here.map(ports).sum::<u32>() > (0x1_0000 - FIRST) / 2
        })
    })
}
