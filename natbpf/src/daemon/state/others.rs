//! What others put on hooks that packets of offloaded flows go past: at uplinks, where replies are sent on before
//! later filters are asked, and at bridges and what else is between a port and an uplink. As long as it is there,
//! the kernel has these packets.

use natbpf_common::IfIndex;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::{
    datapath::{Attacher, Side},
    network::{ANYWHERE, Change},
    plan::{Plan, PlannedPort},
    watch::{Revisions, Watched},
};

/// Length of an Ethernet header; by an uplink without one nothing is offloaded.
const ETHERNET: u32 = 14;

/// What the daemon knows of them.
#[derive(Debug)]
pub struct Others {
    revisions: Revisions,
    /// What was found at each hook that was looked at.
    found: BTreeMap<(IfIndex, Side), Option<String>>,
    /// Interfaces where looking has failed, to be looked at again.
    pub unseen: BTreeSet<IfIndex>,
}

/// Whether a change is one of this interface, or may be.
pub fn concerns(changed: &BTreeSet<IfIndex>, interface: IfIndex) -> bool {
    changed.contains(&interface) || changed.contains(&ANYWHERE)
}

impl Others {
    pub fn start() -> io::Result<Self> {
        Ok(Self { revisions: Revisions::start()?, found: BTreeMap::new(), unseen: BTreeSet::new() })
    }

    /// Waits for the next change that no message tells of. Cancel safe.
    pub async fn changed(&mut self) -> Change {
        let changed = self.revisions.changed().await;
        // XDP programs are in what is known of interfaces.
        let interfaces = changed.iter().any(|(_, hook)| *hook == Watched::Xdp);
        let filters = changed.into_iter().filter(|(_, hook)| *hook != Watched::Xdp);
        Change { filters: filters.map(|(interface, _)| interface).collect(), interfaces, ..Change::default() }
    }

    /// Whether somebody has something there.
    pub fn are_at(&self, interface: IfIndex, side: Side) -> bool {
        self.found.get(&(interface, side)).is_some_and(Option::is_some)
    }

    fn at(&self, interface: IfIndex, name: &str, side: Side) -> Option<String> {
        let what = self.found.get(&(interface, side))?.as_ref()?;
        Some(format!("{what} is attached to {name} ({})", side.name()))
    }

    /// What a port's packets have to pass, in words.
    pub fn obstacle(&self, port: &PlannedPort, plan: &Plan) -> Option<String> {
        let found = || self.among(&port.between);
        let passed = || port.passed.iter().find_map(|group| self.among(plan.passed.get(*group)?));
        port.obstacle.clone().or_else(found).or_else(passed)
    }

    fn among(&self, devices: &[(String, IfIndex)]) -> Option<String> {
        // Mostly there is nothing anywhere, and there may be thousands of each.
        if self.found.values().all(Option::is_none) {
            return None;
        }
        devices
            .iter()
            .find_map(|(name, interface)| Side::BOTH.iter().find_map(|side| self.at(*interface, name, *side)))
    }

    /// Why nothing can be offloaded. Which uplink a flow has is known too late for any of it to be an exception.
    pub fn at_uplinks(&self, plan: &Plan) -> Option<String> {
        uplinks(plan).find_map(|(name, interface)| self.at(interface, name, Side::Ingress))
    }

    /// Looks everywhere in a plan. The answer is that of [`Others::at_uplinks`].
    pub async fn find(&mut self, plan: &Plan, attacher: &Attacher) -> Option<String> {
        self.look(plan, &BTreeSet::new(), attacher).await;
        self.at_uplinks(plan)
    }

    /// Looks at what a plan has that was not looked at yet, or has changed.
    pub async fn look(&mut self, plan: &Plan, changed: &BTreeSet<IfIndex>, attacher: &Attacher) {
        let places = places(plan);
        self.found.retain(|place, _| places.contains_key(place));
        for ((interface, side), name) in places {
            if self.found.contains_key(&(interface, side)) && !concerns(changed, interface) {
                continue;
            }
            match attacher.other(interface, name, side).await {
                Ok(what) => {
                    self.found.insert((interface, side), what);
                }
                // Nobody knows what is there: it may be anything.
                Err(error) => {
                    let unknown = Some("something unknown".to_owned());
                    if self.found.insert((interface, side), unknown.clone()) != Some(unknown) {
                        tracing::error!("cannot see what is attached to {name} ({}): {error:#}", side.name());
                    }
                    self.unseen.insert(interface);
                }
            }
        }
    }

    /// Has the hooks watched that programs may come to by BPF links, if it matters.
    pub fn watch(&self, plan: &Plan, matters: bool) {
        let mut wanted: BTreeSet<(IfIndex, Watched)> = BTreeSet::new();
        if matters {
            let tcx = |interface| Side::BOTH.map(|side| (interface, Watched::Tcx(side)));
            let between = || between(plan).map(|(_, interface)| *interface);
            let ports = plan.ports.iter().map(|port| port.interface);
            let uplinks = uplinks(plan).map(|(_, interface)| interface);
            wanted.extend(uplinks.chain(ports).chain(between()).flat_map(tcx));
            // At ports and uplinks it sees the packets before natbpf does.
            wanted.extend(between().map(|interface| (interface, Watched::Xdp)));
        }
        self.revisions.watch(&wanted);
    }
}

fn uplinks(plan: &Plan) -> impl Iterator<Item = (&str, IfIndex)> {
    let uplinks = plan.uplinks.iter().filter(|uplink| uplink.uplink.link_header == ETHERNET);
    uplinks.map(|uplink| (&*uplink.name, uplink.interface))
}

/// What packets pass, or may.
fn between(plan: &Plan) -> impl Iterator<Item = &(String, IfIndex)> {
    plan.ports.iter().flat_map(|port| &port.between).chain(plan.passed.iter().flatten())
}

/// Where to look, with the names: all but the ports, which are looked at when they are attached to.
fn places(plan: &Plan) -> BTreeMap<(IfIndex, Side), &str> {
    let between = between(plan).map(|(name, interface)| (&**name, *interface));
    let both = |(name, interface)| Side::BOTH.map(|side| ((interface, side), name));
    uplinks(plan).chain(between).flat_map(both).collect()
}
