//! Where sides are compared: what is between the ends, and the version of IP.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::pair::Pair;
use crate::addresses::Family;
use crate::topology::node::Node;
use crate::topology::{Lab, Options, Site};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// An instance, a gateway that routes, an outside
    #[default]
    Gateway,
    /// Two instances on one bridge
    Bridge,
    /// A node of a cloud: nine devices from the instance to the outside, a router in a namespace of its own
    Host,
}

impl Topology {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub topology: Topology,
    pub family: Family,
}

impl Setting {
    /// A new one.
    pub fn make(self) -> Result<Box<dyn Site>> {
        let options = |bridge| Options { bridge, ipv6: self.family == Family::V6, ..Options::default() };
        Ok(match self.topology {
            Topology::Gateway => Box::new(Lab::with(options(false))?),
            Topology::Bridge => Box::new(Pair(Lab::with(options(true))?)),
            Topology::Host => Box::new(Node::untranslated()?),
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topology {}, {}", self.topology.name(), self.family.name())
    }
}
