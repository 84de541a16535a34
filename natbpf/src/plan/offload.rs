//! The inside ports: the devices by which packets of instances come in, and whose flows are offloaded.

use std::collections::BTreeMap;

use natbpf_common::{
    IfIndex,
    contract::edges::{Edge, EdgeFlags, MAX_EDGES},
};

use super::{
    Given, Missing, PlanError,
    leading::leading_to,
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
            if named || leading.contains(&link.index) || edges.iter().any(|edges| edges.has(link)) {
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
        let planned = |link: &Link| planned(link, stacks.between(link, uplinks));
        Ok(Self { planned: ports.into_values().take(MAX_EDGES as usize).map(planned).collect(), warning })
    }
}

impl Edges {
    /// Whether a device is one of them, or stands for some.
    fn has(&self, link: &Link) -> bool {
        match self {
            Self::Found => is_edge(link),
            Self::Named(names) => names.iter().any(|name| name.matches(&link.name)),
        }
    }
}

/// Whether packets of instances may enter or leave the host by a device: a network card, a TAP, or the host's end of a
/// veth pair.
fn is_edge(link: &Link) -> bool {
    let card = link.kind.is_none() || link.is("bond") || link.is("team");
    link.link_layer == libc::ARPHRD_ETHER
        && link.name != "lo"
        && (card || link.is("tun") || link.is("veth") && link.abroad)
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
            if link.link_layer != libc::ARPHRD_ETHER || link.name == "lo" {
                return Err(PlanError::EdgeLinkLayer(name.to_owned()));
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
    match link.master.and_then(|index| snapshot.link(index)) {
        Some(master) if master.is("bond") || master.is("team") => {
            Err(PlanError::PortOfBond { name: name(), master: master.name.clone() })
        }
        _ => Ok(()),
    }
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
    let obstacle = between.iter().find_map(|link| match link {
        Link { queue: true, name, .. } => {
            Some(format!("packets wait in a queue before they leave by {name}"))
        }
        Link { xdp: Some(number), name, .. } => {
            Some(format!("an XDP program (number {number}) is attached to {name}"))
        }
        _ => None,
    });
    let between = between.into_iter().map(|link| (link.name.clone(), link.index)).collect();
    let (name, interface) = (link.name.clone(), link.index);
    PlannedPort { name, interface, port: Edge { flags }, between, obstacle }
}
