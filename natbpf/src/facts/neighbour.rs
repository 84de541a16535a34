//! Neighbours, and the stations that bridges have learned.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};

pub use netlink_packet_route::neighbour::NeighbourState;

/// Whom an address belongs to, as the host has heard by ARP or neighbour discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the device.
    pub device: u32,
    pub address: IpAddr,
    /// `None`: nobody has answered.
    pub mac: Option<[u8; 6]>,
    pub state: NeighbourState,
}

/// Where a bridge sends frames to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Index of the port.
    pub port: u32,
    pub mac: [u8; 6],
    pub vlan: Option<u16>,
    /// It is the port's own, or somebody has put it there.
    pub permanent: bool,
}

impl Neighbour {
    pub fn is_failed(&self) -> bool {
        matches!(self.state, NeighbourState::Failed | NeighbourState::Incomplete)
    }
}

pub fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let (device, state) = (message.header.ifindex, message.header.state);
    Some(Neighbour { device, address, mac: mac(message), state })
}

pub fn station(message: &NeighbourMessage) -> Option<Station> {
    if message.header.family != AddressFamily::Bridge {
        return None;
    }
    let vlan = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Vlan(vlan) => Some(*vlan),
        _ => None,
    });
    let permanent = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    Some(Station { port: message.header.ifindex, mac: mac(message)?, vlan, permanent })
}

fn mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}
