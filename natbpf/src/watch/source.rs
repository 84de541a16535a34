//! Who changes the network.

/// The beginning of a link layer address, with zeros behind.
pub type LinkAddress = [u8; 8];

/// Who or what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A neighbour, by interface index and IPv4 address.
    Neighbour(u32, [u8; 4]),
    /// A station of a bridge, by VLAN and MAC address, with the interface index of the port where it is now.
    Station(u32, u16, LinkAddress),
    /// An interface, by its index: the far end of a veth may belong to an instance.
    Link(u32),
}

impl Source {
    pub const fn interface(self) -> u32 {
        match self {
            Self::Neighbour(interface, _) | Self::Station(interface, ..) | Self::Link(interface) => interface,
        }
    }

    /// What is limited by itself: a station wherever it is, since one that flaps does so between ports.
    pub const fn own(self) -> Self {
        match self {
            Self::Station(_, vlan, mac) => Self::Station(0, vlan, mac),
            other => other,
        }
    }
}
