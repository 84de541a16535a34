//! Who changes the network.

use std::net::IpAddr;

use natbpf_common::IfIndex;

/// The beginning of a link layer address, with zeros behind.
pub type LinkAddress = [u8; 8];

/// Who or what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A neighbour, by interface index and address.
    Neighbour(IfIndex, IpAddr),
    /// A station of a bridge, by VLAN and MAC address, with the interface index of the port where it is now.
    Station(IfIndex, u16, LinkAddress),
    /// An interface, by its index: the far end of a veth may belong to an instance.
    Link(IfIndex),
    /// Another network namespace, by its cookie: whoever owns it may change it as often as he likes.
    Namespace(u64),
}

impl Source {
    pub const fn interface(self) -> IfIndex {
        match self {
            Self::Neighbour(interface, _) | Self::Station(interface, ..) | Self::Link(interface) => interface,
            Self::Namespace(_) => IfIndex::NONE,
        }
    }

    /// What is limited by itself: a station wherever it is, since one that flaps does so between ports.
    pub const fn own(self) -> Self {
        match self {
            Self::Station(_, vlan, mac) => Self::Station(IfIndex::NONE, vlan, mac),
            other => other,
        }
    }
}
