//! The roles of interfaces, and the hooks that each of them has.

use std::fmt;

use super::Side;

/// Where packets pass an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Out of an uplink.
    Egress,
    /// In by an uplink.
    Ingress,
    /// In by an interface where inside hosts are.
    Inside,
    /// In by an inside port.
    PortIngress,
    /// Out of an inside port.
    PortEgress,
}

/// What an interface is. One may be the latter two at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Uplink,
    /// Inside hosts send by it, and hairpinning is on.
    Inside,
    /// Instances are behind it, and what they send and get is offloaded.
    Port,
}

impl Role {
    /// In the order of attaching: ingress comes first, so that no packet is translated whose reply would not be.
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Uplink => &[Hook::Ingress, Hook::Egress],
            Self::Inside => &[Hook::Inside],
            Self::Port => &[Hook::PortEgress, Hook::PortIngress],
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Inside => "inside",
            Self::Port => "port",
        }
    }

    /// What the log says that it is for.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Uplink => "",
            Self::Inside => ", for hairpinning",
            Self::Port => ", for offload",
        }
    }
}

impl Hook {
    pub const ALL: [Self; 5] =
        [Self::Ingress, Self::Egress, Self::Inside, Self::PortIngress, Self::PortEgress];

    /// Without `_`, which separates it from what else is in the name of a pin.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Inside => "inside",
            Self::PortIngress => "port-ingress",
            Self::PortEgress => "port-egress",
        }
    }

    /// Name of its program in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Egress => "uplink_egress",
            Self::Ingress => "uplink_ingress",
            Self::Inside => "inside_ingress",
            Self::PortIngress => "edge_ingress",
            Self::PortEgress => "edge_egress",
        }
    }

    pub const fn role(self) -> Role {
        match self {
            Self::Egress | Self::Ingress => Role::Uplink,
            Self::Inside => Role::Inside,
            Self::PortIngress | Self::PortEgress => Role::Port,
        }
    }

    pub const fn side(self) -> Side {
        match self {
            Self::Egress | Self::PortEgress => Side::Egress,
            Self::Ingress | Self::Inside | Self::PortIngress => Side::Ingress,
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
