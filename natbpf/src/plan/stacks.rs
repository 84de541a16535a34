//! What lies on what: bridges, and devices that are stacked on others.

use natbpf_common::IfIndex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::uplinks::Uplinks;
use crate::network::{Link, Snapshot};

/// Kinds of devices whose packets have come by the one below before.
const STACKED: [&str; 3] = ["vlan", "macvlan", "ipvlan"];

/// What lies on what, found once for all ports: there may be thousands of both.
pub struct Stacks<'a> {
    /// By interface index.
    bridges: BTreeMap<IfIndex, &'a Link>,
    /// By that of the lower device.
    stacked: BTreeMap<IfIndex, Vec<&'a Link>>,
}

impl<'a> Stacks<'a> {
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let mut stacks = Self { bridges: BTreeMap::new(), stacked: BTreeMap::new() };
        for link in &snapshot.links {
            if link.is("bridge") {
                stacks.bridges.insert(link.index, link);
            }
            if let Some(lower) = link.lower.filter(|_| is_stacked(link)) {
                stacks.stacked.entry(lower).or_default().push(link);
            }
        }
        stacks
    }

    /// The bridge that a port is of, and what is stacked on either, however high.
    pub fn between(&self, port: &Link, uplinks: &Uplinks) -> Vec<&'a Link> {
        let mut passed = BTreeSet::from([port.index]);
        let bridge = port.master.and_then(|master| self.bridges.get(&master));
        let mut next: VecDeque<&Link> = bridge.into_iter().chain(self.on(port.index)).copied().collect();
        let mut between = Vec::new();
        while let Some(link) = next.pop_front() {
            if !uplinks.has(link) && passed.insert(link.index) {
                between.push(link);
                next.extend(self.on(link.index));
            }
        }
        between
    }

    fn on(&self, lower: IfIndex) -> &[&'a Link] {
        self.stacked.get(&lower).map_or(&[], Vec::as_slice)
    }
}

pub fn is_stacked(link: &Link) -> bool {
    STACKED.iter().any(|kind| link.is(kind))
}
