//! The inside ports: the devices by which packets of instances come in, and whose flows are offloaded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use natbpf_common::{
    contract::inside::{InsidePort, MAX_PORTS},
    flow::offload::Offload,
};

use super::{Missing, Plan, PlanError, inside::leading_to};
use crate::{
    config::{Action, Config, Interfaces, Networks},
    network::{Link, Snapshot},
};

/// Kinds of devices whose packets have come by the one below before.
const STACKED: [&str; 3] = ["vlan", "macvlan", "ipvlan"];

/// An inside port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPort {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub port: InsidePort,
    /// Interfaces that its packets would pass on their way to an uplink and back, and do not: name and index.
    pub between: Vec<(String, u32)>,
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

    /// Rules have their sources, forwards and floating addresses their hosts. Where a rule names ports, the latter add none: whoever
    /// counts them up means these.
    fn wanted_ports(&self) -> Wanted<'_> {
        let mut wanted = Wanted::default();
        for rule in &self.rules {
            let Action::Masquerade(translation) = &rule.action else { continue };
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

impl Plan {
    pub(super) fn find_ports(
        &mut self,
        config: &Config,
        snapshot: &Snapshot,
        missing: Missing,
    ) -> Result<(), PlanError> {
        if !config.datapath.wants_offload() {
            return Ok(());
        }
        let wanted = config.wanted_ports();
        if missing == Missing::Refused {
            let names = wanted.named.iter().filter_map(|ports| ports.name());
            let links = names.filter_map(|name| snapshot.links.iter().find(|link| link.name == name));
            for link in links {
                self.check_port(link, snapshot)?;
            }
        }
        let leading = leading_to(&wanted.behind.iter().collect::<Vec<_>>(), snapshot);
        let mut ports = BTreeMap::new();
        for link in snapshot.links.iter().filter(|link| !self.is_uplink(link)) {
            let named = wanted.named.iter().any(|ports| ports.matches(&link.name));
            if named || leading.contains(&link.index) {
                let found = devices(link, snapshot).into_iter();
                let found = found.filter(|port| self.check_port(port, snapshot).is_ok());
                ports.extend(found.map(|port| (port.index, port)));
            }
        }
        let stacked: Vec<u32> =
            ports.values().filter(|port| is_above(port, &ports)).map(|p| p.index).collect();
        ports.retain(|index, _| !stacked.contains(index));
        if ports.len() > MAX_PORTS as usize {
            self.warnings.push(format!(
                "there are {} inside ports, and {MAX_PORTS} can be offloaded; the others' traffic takes its way through the kernel. \
                 Name those that matter with ports",
                ports.len()
            ));
        }
        let stacks = Stacks::of(snapshot);
        let planned = |link: &Link| planned(link, self.between(link, &stacks));
        self.ports = ports.into_values().take(MAX_PORTS as usize).map(planned).collect();
        Ok(())
    }

    /// The bridge that a port is of, and what is stacked on either, however high.
    fn between<'a>(&self, port: &Link, stacks: &Stacks<'a>) -> Vec<&'a Link> {
        let mut passed = BTreeSet::from([port.index]);
        let bridge = port.master.and_then(|master| stacks.bridges.get(&master));
        let mut next: VecDeque<&Link> = bridge.into_iter().chain(stacks.on(port.index)).copied().collect();
        let mut between = Vec::new();
        while let Some(link) = next.pop_front() {
            if !self.is_uplink(link) && passed.insert(link.index) {
                between.push(link);
                next.extend(stacks.on(link.index));
            }
        }
        between
    }

    /// Whether a device can be an inside port, or stand for some.
    fn check_port(&self, link: &Link, snapshot: &Snapshot) -> Result<(), PlanError> {
        let name = || link.name.clone();
        if self.is_uplink(link) {
            return Err(PlanError::PortUplink(name()));
        }
        if link.link_layer != libc::ARPHRD_ETHER || link.name == "lo" || is_kind(link, "vrf") {
            return Err(PlanError::PortLinkLayer(name()));
        }
        let master = link.master.and_then(|index| snapshot.links.iter().find(|link| link.index == index));
        match master {
            Some(master) if is_kind(master, "bond") || is_kind(master, "team") => {
                Err(PlanError::PortOfBond { name: name(), master: master.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// What lies on what, found once for all ports: there may be thousands of both.
struct Stacks<'a> {
    /// By interface index.
    bridges: BTreeMap<u32, &'a Link>,
    /// By that of the lower device.
    stacked: BTreeMap<u32, Vec<&'a Link>>,
}

impl<'a> Stacks<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut stacks = Self { bridges: BTreeMap::new(), stacked: BTreeMap::new() };
        for link in &snapshot.links {
            if is_kind(link, "bridge") {
                stacks.bridges.insert(link.index, link);
            }
            if let Some(lower) = link.lower.filter(|_| is_stacked(link)) {
                stacks.stacked.entry(lower).or_default().push(link);
            }
        }
        stacks
    }

    fn on(&self, lower: u32) -> &[&'a Link] {
        self.stacked.get(&lower).map_or(&[], Vec::as_slice)
    }
}

/// The devices that a device stands for: a bridge, and a VLAN on it, for the bridge's ports, since packets come in there. But not where
/// packets wait in a queue before they leave by it, since what it limits would go past it.
fn devices<'a>(link: &'a Link, snapshot: &'a Snapshot) -> Vec<&'a Link> {
    let lower = link.lower.filter(|_| is_kind(link, "vlan"));
    let lower = lower.and_then(|index| snapshot.links.iter().find(|link| link.index == index));
    let above = [Some(link), lower].into_iter().flatten();
    let queue = above.clone().any(|link| link.queue);
    match above.filter(|link| is_kind(link, "bridge")).find(|_| !queue) {
        Some(bridge) => snapshot.links.iter().filter(|link| link.master == Some(bridge.index)).collect(),
        None => vec![link],
    }
}

/// Whether packets come by another port before: that one does the work, since it sees their tags.
fn is_above(link: &Link, ports: &BTreeMap<u32, &Link>) -> bool {
    is_stacked(link) && link.lower.is_some_and(|lower| ports.contains_key(&lower))
}

fn is_stacked(link: &Link) -> bool {
    STACKED.iter().any(|kind| is_kind(link, kind))
}

fn is_kind(link: &Link, kind: &str) -> bool {
    link.kind.as_deref() == Some(kind)
}

fn planned(link: &Link, between: Vec<&Link>) -> PlannedPort {
    // A queue, by which many limit how much a container gets, is at this end, and so is what finishes packets for those who cannot.
    let peer = is_kind(link, "veth") && link.abroad && !link.queue && link.takes_unfinished;
    let flags = if peer { Offload::PEER } else { 0 };
    let obstacle = between.iter().find_map(|link| match link {
        Link { queue: true, name, .. } => {
            Some(format!("packets wait in a queue before they leave by {name}"))
        }
        Link { xdp: Some(program), name, .. } => {
            Some(format!("an XDP program (number {program}) is attached to {name}"))
        }
        _ => None,
    });
    let between = between.into_iter().map(|link| (link.name.clone(), link.index)).collect();
    PlannedPort {
        name: link.name.clone(),
        interface: link.index,
        port: InsidePort { flags },
        between,
        obstacle,
    }
}
