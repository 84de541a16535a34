//! Two instances on one bridge.

use std::net::Ipv4Addr;

use crate::addresses::VM2;
use crate::netns::Namespace;
use crate::topology::{End, Lab, Site};

/// The instances of the standard lab.
#[derive(Debug)]
pub struct Pair(pub Lab);

impl Site for Pair {
    fn host(&self) -> &Namespace {
        &self.0.gw
    }

    fn inside(&self) -> End<'_> {
        End { namespace: &self.0.vm1, edge: "port1", hop: (&self.0.vm2, "eth0") }
    }

    fn outside(&self) -> End<'_> {
        End { namespace: &self.0.vm2, edge: "port2", hop: (&self.0.vm1, "eth0") }
    }

    fn server(&self) -> Ipv4Addr {
        VM2
    }

    fn is_routed(&self) -> bool {
        false
    }
}
