//! The inside ports: the devices by which packets of instances come in, and whose flows are offloaded.

use std::collections::{BTreeMap, BTreeSet};

use natbpf_common::{
    IfIndex,
    contract::edges::{Edge, EdgeFlags, MAX_EDGES},
};

use super::{
    Given, Missing, PlanError,
    found::{Found, edge},
    leading::leading_to,
    passed::Connected,
    rules::translation,
    stacks::{Stacks, is_stacked},
    uplinks::Uplinks,
};
use crate::{
    config::{Config, Edges, Interfaces, Networks},
    network::{Link, Snapshot},
};

/// An inside port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPort {
    pub name: String,
    /// Interface index.
    pub interface: IfIndex,
    pub port: Edge,
    /// Interfaces that its packets would pass on their path to an uplink and back, and do not: name and index.
    pub between: Vec<(String, IfIndex)>,
    /// With [`Edges`]: the groups of [`Plan::passed`](super::Plan::passed) that its packets come to.
    pub passed: Vec<usize>,
    /// What of theirs would have to see each packet, in words.
    pub obstacle: Option<String>,
}

/// Which devices are meant.
#[derive(Debug, Default)]
struct Wanted<'a> {
    named: Vec<&'a Interfaces>,
    /// By what is behind them.
    behind: Vec<Networks>,
}

impl Config {
    /// Whether inside ports are found by address and route.
    pub fn looks_for_ports(&self) -> bool {
        self.datapath.wants_offload() && !self.wanted_ports().behind.is_empty()
    }

    /// Rules have their sources, forwards and floating addresses their hosts. Where a rule names ports, the latter
    /// add none: an operator who counts them up means these.
    fn wanted_ports(&self) -> Wanted<'_> {
        let mut wanted = Wanted::default();
        for rule in &self.rules {
            let Some(translation) = translation(rule) else { continue };
            match &translation.ports[..] {
                [] => wanted.behind.push(rule.sources.clone()),
                ports => wanted.named.extend(ports),
            }
        }
        if wanted.named.is_empty() {
            let targets = self.forwards.iter().map(|forward| forward.redirection.to.address);
            let hosts = self.floating.iter().map(|floating| floating.pair.inside);
            wanted.behind.extend(targets.chain(hosts).map(Networks::from));
        }
        wanted
    }
}

/// All of them.
#[derive(Default)]
pub struct Ports {
    pub planned: Vec<PlannedPort>,
    /// See [`Plan::passed`](super::Plan::passed).
    pub passed: Vec<Vec<(String, IfIndex)>>,
    pub warning: Option<String>,
}

impl Ports {
    pub fn find(given: &Given<'_>, uplinks: &Uplinks) -> Result<Self, PlanError> {
        if !given.config.datapath.wants_offload() {
            return Ok(Self::default());
        }
        let snapshot = given.snapshot;
        let wanted = given.config.wanted_ports();
        if given.missing == Missing::Refused {
            let names = wanted.named.iter().filter_map(|ports| ports.name());
            for link in names.filter_map(|name| snapshot.links.iter().find(|link| link.name == name)) {
                check(link, uplinks, snapshot)?;
            }
        }
        let edges = &given.config.accelerate;
        check_edges(edges, given)?;
        let leading = leading_to(&wanted.behind, snapshot);
        let mut ports = BTreeMap::new();
        for link in snapshot.links.iter().filter(|link| !uplinks.has(link)) {
            let named = wanted.named.iter().any(|ports| ports.matches(&link.name));
            if named || leading.contains(&link.index) || edges.iter().any(|edges| edges.has(link, snapshot)) {
                let found = devices(link, snapshot).into_iter();
                let found = found.filter(|port| check(port, uplinks, snapshot).is_ok());
                ports.extend(found.map(|port| (port.index, port)));
            }
        }
        let stacked = ports.values().filter(|port| is_above(port, &ports));
        let stacked: Vec<IfIndex> = stacked.map(|port| port.index).collect();
        ports.retain(|index, _| !stacked.contains(index));
        if given.missing == Missing::Refused && edges.contains(&Edges::Found) && ports.is_empty() {
            return Err(PlanError::NoEdge);
        }
        let warning = (ports.len() > MAX_EDGES as usize).then(|| {
            format!(
                "there are {} inside ports, and {MAX_EDGES} can be offloaded; the others' traffic takes its way \
                 through the kernel. Name those that matter with ports",
                ports.len()
            )
        });
        let stacks = Stacks::of(snapshot);
        let elsewhere = obstacle_elsewhere(snapshot);
        let planned = |link: &Link| {
            let planned = planned(link, stacks.between(link, uplinks));
            let obstacle = planned.obstacle.or_else(|| elsewhere.clone());
            PlannedPort { obstacle, ..planned }
        };
        let planned = ports.into_values().take(MAX_EDGES as usize).map(planned).collect();
        let found = Self { planned, passed: Vec::new(), warning };
        Ok(if edges.is_empty() { found } else { found.with_passed(snapshot, uplinks) })
    }
}

impl Ports {
    /// Nobody knows what the packets of an edge pass until they leave by another one.
    fn with_passed(mut self, snapshot: &Snapshot, uplinks: &Uplinks) -> Self {
        let ports = self.planned.iter().map(|port| port.interface);
        let edges: BTreeSet<IfIndex> =
            ports.chain(uplinks.planned.iter().map(|uplink| uplink.interface)).collect();
        for (devices, ends) in Connected::of(snapshot).between(&edges) {
            let obstacle = obstacle(&devices);
            for port in self.planned.iter_mut().filter(|port| ends.contains(&port.interface)) {
                port.passed.push(self.passed.len());
                port.obstacle = port.obstacle.take().or_else(|| obstacle.clone());
            }
            self.passed.push(named(&devices));
        }
        self
    }
}

impl Edges {
    /// Whether a device is one of them, or stands for some.
    fn has(&self, link: &Link, snapshot: &Snapshot) -> bool {
        match self {
            Self::Found => edge(link, &snapshot.namespaces) == Some(Found::Edge),
            Self::Named(names) => names.iter().any(|name| name.matches(&link.name)),
        }
    }
}

/// What other namespaces that packets pass have that would have to see each of them. Which ports' packets go there
/// nobody knows before they do.
fn obstacle_elsewhere(snapshot: &Snapshot) -> Option<String> {
    snapshot.namespaces.middle.iter().find_map(|middle| {
        let obstacle = middle.obstacle.as_ref()?;
        Some(format!("{obstacle} in the network namespace {}", middle.handle))
    })
}

/// An edge that is named, and no pattern, has to be there at the start.
fn check_edges(edges: &[Edges], given: &Given<'_>) -> Result<(), PlanError> {
    if given.missing != Missing::Refused {
        return Ok(());
    }
    for edges in edges {
        let Edges::Named(names) = edges else { continue };
        for name in names.iter().filter_map(Interfaces::name) {
            let Some(link) = given.find(name)? else { continue };
            if link.link_layer != libc::ARPHRD_ETHER || link.name == "lo" || link.is("vrf") {
                return Err(PlanError::EdgeLinkLayer(name.to_owned()));
            }
            if let Some(master) = aggregate(link, given.snapshot) {
                return Err(PlanError::EdgeOfBond { name: name.to_owned(), master: master.name.clone() });
            }
        }
    }
    Ok(())
}

/// Whether a device can be an inside port, or stand for some.
fn check(link: &Link, uplinks: &Uplinks, snapshot: &Snapshot) -> Result<(), PlanError> {
    let name = || link.name.clone();
    if uplinks.has(link) {
        return Err(PlanError::PortUplink(name()));
    }
    if link.link_layer != libc::ARPHRD_ETHER || link.name == "lo" || link.is("vrf") {
        return Err(PlanError::PortLinkLayer(name()));
    }
    match aggregate(link, snapshot) {
        Some(master) => Err(PlanError::PortOfBond { name: name(), master: master.name.clone() }),
        None => Ok(()),
    }
}

/// The bond or team by which a device's packets come in.
fn aggregate<'a>(link: &Link, snapshot: &'a Snapshot) -> Option<&'a Link> {
    let master = snapshot.link(link.master?)?;
    (master.is("bond") || master.is("team")).then_some(master)
}

/// The devices that a device stands for: a bridge, and a VLAN on it, for the bridge's ports, since packets come in
/// there. But not where packets wait in a queue before they leave by it, since what it limits would go past it.
fn devices<'a>(link: &'a Link, snapshot: &'a Snapshot) -> Vec<&'a Link> {
    let lower = link.lower.filter(|_| link.is("vlan")).and_then(|index| snapshot.link(index));
    let above = [Some(link), lower].into_iter().flatten();
    let queue = above.clone().any(|link| link.queue);
    match above.filter(|link| link.is("bridge")).find(|_| !queue) {
        Some(bridge) => snapshot.links.iter().filter(|link| link.master == Some(bridge.index)).collect(),
        None => vec![link],
    }
}

/// Whether packets come by another port before: that one does the work, since it sees their tags.
fn is_above(link: &Link, ports: &BTreeMap<IfIndex, &Link>) -> bool {
    is_stacked(link) && link.lower.is_some_and(|lower| ports.contains_key(&lower))
}

fn planned(link: &Link, between: Vec<&Link>) -> PlannedPort {
    // A queue, by which many limit how much a container gets, is at this end, and so is what finishes packets for
    // those who cannot.
    let peer = link.is("veth") && link.abroad && !link.queue && link.takes_unfinished;
    let flags = if peer { EdgeFlags::PEER } else { EdgeFlags::empty() };
    let (name, interface) = (link.name.clone(), link.index);
    let (obstacle, between) = (obstacle(&between), named(&between));
    PlannedPort { name, interface, port: Edge { flags }, between, passed: Vec::new(), obstacle }
}

/// What there is of the devices themselves that would have to see each packet.
fn obstacle(devices: &[&Link]) -> Option<String> {
    devices.iter().find_map(|link| match link {
        Link { queue: true, name, .. } => {
            Some(format!("packets wait in a queue before they leave by {name}"))
        }
        Link { xdp: Some(number), name, .. } => {
            Some(format!("an XDP program (number {number}) is attached to {name}"))
        }
        _ => None,
    })
}

fn named(devices: &[&Link]) -> Vec<(String, IfIndex)> {
    devices.iter().map(|link| (link.name.clone(), link.index)).collect()
}
