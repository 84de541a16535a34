//! Neighbours, and the stations that bridges have learned.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
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
    /// A program has put it there, such as one for EVPN, and the kernel does not age it.
    pub put: bool,
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
    /// It stays at this port, wherever frames of it come from.
    pub fixed: bool,
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
    let put = message.header.flags.contains(NeighbourFlags::ExtLearned);
    Some(Neighbour { device, address, mac: mac(message), state, put })
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
    // A static one moves to where it is heard, unless it is the host's own.
    let fixed = message.header.state == NeighbourState::Permanent
        || message.header.flags.contains(NeighbourFlags::Sticky);
    Some(Station { port: message.header.ifindex, mac: mac(message)?, vlan, permanent, fixed })
}

fn mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn message(family: AddressFamily, state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        message.header.state = state;
        message.header.flags = flags;
        message.header.ifindex = 3;
        message
    }

    #[test]
    fn a_neighbour_that_nobody_is_has_failed() {
        let mut asked = message(AddressFamily::Inet, NeighbourState::Incomplete, NeighbourFlags::empty());
        let address = Ipv4Addr::new(192, 0, 2, 1);
        asked.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        let read = neighbour(&asked).unwrap();
        assert_eq!((read.device, read.address, read.mac), (3, IpAddr::V4(address), None));
        assert!(read.is_failed());
        asked.header.state = NeighbourState::Stale;
        assert!(!neighbour(&asked).unwrap().is_failed());
    }

    #[test]
    fn stations_move_unless_they_are_fixed() {
        let read = |state, flags| {
            let mut message = message(AddressFamily::Bridge, state, flags);
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(MAC.to_vec()));
            message.attributes.push(NeighbourAttribute::Vlan(10));
            let station = station(&message).unwrap();
            assert_eq!((station.port, station.mac, station.vlan), (3, MAC, Some(10)));
            (station.permanent, station.fixed)
        };
        let (none, sticky) = (NeighbourFlags::empty(), NeighbourFlags::Sticky);
        assert_eq!(read(NeighbourState::Reachable, none), (false, false));
        assert_eq!(read(NeighbourState::Noarp, none), (true, false));
        assert_eq!(read(NeighbourState::Noarp, sticky), (true, true));
        assert_eq!(read(NeighbourState::Permanent, none), (true, true));
    }
}
