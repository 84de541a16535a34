//! What packets may pass between edges within this network namespace. Which of it they do pass is seen only when they
//! have.

use std::collections::{BTreeMap, BTreeSet};

use natbpf_common::IfIndex;

use super::found::{Found, edge};
use crate::network::{Link, Namespaces, Snapshot};

/// Devices by what they are connected with: a bridge with its ports, the ends of a pair, a VLAN with what it is on.
pub struct Connected<'a> {
    links: BTreeMap<IfIndex, &'a Link>,
    namespaces: &'a Namespaces,
    with: BTreeMap<IfIndex, Vec<IfIndex>>,
}

impl<'a> Connected<'a> {
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let Snapshot { links, namespaces, .. } = snapshot;
        let mut with: BTreeMap<IfIndex, Vec<IfIndex>> = BTreeMap::new();
        for link in links {
            for other in [link.master, link.lower].into_iter().flatten() {
                with.entry(link.index).or_default().push(other);
                with.entry(other).or_default().push(link.index);
            }
        }
        Self { links: links.iter().map(|link| (link.index, link)).collect(), namespaces, with }
    }

    /// Groups of devices that are connected with each other and are none of these edges, with the edges that each of
    /// them begins at.
    pub fn between(&self, edges: &BTreeSet<IfIndex>) -> Vec<(Vec<&'a Link>, BTreeSet<IfIndex>)> {
        let mut seen = BTreeSet::new();
        let mut groups = Vec::new();
        for edge in edges {
            for first in self.with.get(edge).into_iter().flatten() {
                let group = self.group(*first, edges, &mut seen);
                if !group.0.is_empty() {
                    groups.push(group);
                }
            }
        }
        groups
    }

    /// The devices that are connected with this one and were not seen before, and the edges at their ends.
    fn group(
        &self,
        first: IfIndex,
        edges: &BTreeSet<IfIndex>,
        seen: &mut BTreeSet<IfIndex>,
    ) -> (Vec<&'a Link>, BTreeSet<IfIndex>) {
        let (mut devices, mut ends, mut next) = (Vec::new(), BTreeSet::new(), vec![first]);
        while let Some(index) = next.pop() {
            if edges.contains(&index) {
                ends.insert(index);
                continue;
            }
            if !seen.insert(index) {
                continue;
            }
            let Some(link) = self.links.get(&index).filter(|link| leads_on(link, self.namespaces)) else {
                continue;
            };
            devices.push(*link);
            next.extend(self.with.get(&index).into_iter().flatten());
        }
        (devices, ends)
    }
}

/// Whether packets that leave by a device may come back to the host: not by a card, and not from an instance.
fn leads_on(link: &Link, namespaces: &Namespaces) -> bool {
    link.kind.is_some() && edge(link, namespaces) != Some(Found::Edge)
}
