//! What the host has, at one moment.

use natbpf_common::IfIndex;
use std::collections::{BTreeMap, BTreeSet};

use super::{Device, Ipv4Address, Link, Namespaces, Route};

/// All interfaces, addresses and routes at about the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By interface index.
    pub links: Vec<Link>,
    /// Those of one interface stand in the kernel's order.
    pub addresses: Vec<Ipv4Address>,
    /// Empty where nobody has asked for them.
    pub routes: Vec<Route>,
    /// Indexes of interfaces that have just lost their address and wait for the next one: they borrow none.
    pub waiting: BTreeSet<IfIndex>,
    /// What is known of the devices, by interface index.
    pub devices: BTreeMap<IfIndex, Device>,
    /// What is known of other namespaces, where somebody has asked.
    pub namespaces: Namespaces,
}

impl Snapshot {
    pub fn link(&self, interface: IfIndex) -> Option<&Link> {
        self.links.iter().find(|link| link.index == interface)
    }

    /// Name of an interface; its index if it is gone.
    pub fn name(&self, interface: IfIndex) -> String {
        self.link(interface).map_or_else(|| format!("if{interface}"), |link| link.name.clone())
    }
}
