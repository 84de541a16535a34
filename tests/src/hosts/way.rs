//! A way through a host, for those who send packets from one end of it to the other.

use std::net::Ipv4Addr;

use crate::netns::Namespace;
use crate::topology::{End, Site, Sources};

/// From an instance to the outside or to another instance.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    pub name: &'static str,
    pub host: &'a Namespace,
    pub inside: End<'a>,
    pub outside: End<'a>,
    pub server: Ipv4Addr,
    /// What the outside sees.
    pub gateway: Ipv4Addr,
    pub sources: Sources,
    /// Otherwise both ends are in one network.
    pub routed: bool,
}

impl Site for Way<'_> {
    fn host(&self) -> &Namespace {
        self.host
    }

    fn inside(&self) -> End<'_> {
        self.inside
    }

    fn outside(&self) -> End<'_> {
        self.outside
    }

    fn server(&self) -> Ipv4Addr {
        self.server
    }

    fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    fn sources(&self) -> Sources {
        self.sources
    }

    fn is_routed(&self) -> bool {
        self.routed
    }
}
