//! What can be the cause of a trouble.

use super::{Found, Site};

/// One of the table.
#[derive(Debug)]
pub struct Cause {
    /// By which it is known in JSON and in the documents.
    pub name: &'static str,
    pub severity: Severity,
    pub stage: Stage,
    /// In a line, for the table of causes.
    pub title: &'static str,
    pub look: fn(&Site<'_>) -> Vec<Found>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Some packets do not arrive, or none does.
    Error,
    /// It will be one under load, or for some of the packets.
    Warning,
    /// Worth knowing where something is wrong.
    Note,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Where a packet that leaves an instance meets it, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The host itself: kernel, permissions.
    Host,
    /// Address, routes and name servers of the instance.
    Instance,
    /// Devices and cables.
    Link,
    Bridge,
    /// ARP, and who has which address.
    Neighbour,
    Routing,
    Forwarding,
    Filter,
    Translation,
    Conntrack,
    /// The device that leads out.
    Uplink,
    /// What comes back.
    Return,
}

impl Stage {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Instance => "instance",
            Self::Link => "link",
            Self::Bridge => "bridge",
            Self::Neighbour => "neighbour",
            Self::Routing => "routing",
            Self::Forwarding => "forwarding",
            Self::Filter => "filter",
            Self::Translation => "translation",
            Self::Conntrack => "conntrack",
            Self::Uplink => "uplink",
            Self::Return => "return",
        }
    }
}
