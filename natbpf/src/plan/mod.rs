//! From the configuration and the interfaces as they are now to the contents of the datapath's maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use natbpf_common::{
    Address, SECOND,
    contract::{
        forwards::{External, ExternalKey, Pool},
        inside::InsidePort,
        rules::Rule,
        uplinks::{MAX_ADDRESSES, MAX_UPLINKS, Uplink, UplinkAddress},
    },
};

use crate::{
    address::masquerade_addresses,
    config::{Action, Config, Filtering, Interfaces, Mapping, MasqueradeRule, Networks, Translation},
    datapath::Role,
    network::{Link, Snapshot},
};

mod compile;
mod hook;
mod inside;
mod left_out;
mod offload;
mod placement;
mod ports;
mod reverse;
mod serve;
#[cfg(test)]
pub(crate) mod tests;
mod warn;

pub use compile::{DestinationEntry, SourceEntry};
pub use hook::PlannedHook;
pub use inside::PlannedInside;
pub use left_out::{LeftOut, Refused};
pub use offload::PlannedPort;
pub use placement::Placement;
pub use ports::{PortPrefix, prefixes};
pub use reverse::reverse;
pub use serve::ForwardEntry;

use compile::{Compiler, OrderedRule};
use serve::floating_rule;

/// What the datapath has to be told.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which the configuration names them, each once.
    pub uplinks: Vec<PlannedUplink>,
    pub sources: Vec<SourceEntry>,
    pub destinations: Vec<DestinationEntry>,
    /// [`Rule::pool`] of the rules above is an index of these.
    pub pools: Vec<Pool>,
    /// Addresses of pools, by the interface index of an uplink.
    pub pooled: Vec<(u32, Address)>,
    pub forwards: Vec<ForwardEntry>,
    pub externals: Vec<(ExternalKey, External)>,
    /// Interfaces that inside hosts send by, where hairpinning is on.
    pub inside: Vec<PlannedInside>,
    /// Whose flows are offloaded.
    pub ports: Vec<PlannedPort>,
    /// Of the uplinks and ports.
    pub hooks: Vec<PlannedHook>,
    /// The same, before anybody has tried.
    chosen: Vec<PlannedHook>,
    /// What becomes of what cannot be had.
    pub missing: Missing,
    /// Interfaces that are meant and cannot be had.
    pub left_out: Vec<LeftOut>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// An uplink as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedUplink {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// Administratively up. The flows of an uplink that is down are over.
    pub up: bool,
    /// Zeros where the link layer has none.
    pub mac: [u8; 6],
    /// It is named, and not only matched by a pattern.
    pub named: bool,
    /// Has its addresses even if it is down.
    pub uplink: Uplink,
}

/// What becomes of what is for an interface that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is a mistake: at the start and when the configuration is read again.
    Refused,
    /// It waits until the interface comes.
    #[default]
    LeftOut,
}

/// Why a configuration does not fit the interfaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no interface {name} in this network namespace; there are: {existing}", existing = existing.join(", "))]
    NoInterface { name: String, existing: Vec<String> },
    #[error(
        "{name} cannot be an uplink, because its packets have link layer headers of type {link_layer}; \
         natbpf knows Ethernet and devices without a header (tun, wireguard, ppp)"
    )]
    LinkLayer {
        name: String,
        /// An `ARPHRD_` number.
        link_layer: u16,
    },
    #[error("inside names {0}, which is an uplink; inside hosts send by other interfaces, so leave it out")]
    InsideUplink(String),
    #[error("inside names {0}, which is no Ethernet device; hairpinning works for hosts on Ethernet alone")]
    InsideLinkLayer(String),
    #[error("ports names {0}, which is an uplink; instances send by other devices, so leave it out")]
    PortUplink(String),
    #[error("ports names {0}, which is no Ethernet device; only those can be offloaded, so leave it out")]
    PortLinkLayer(String),
    #[error("ports names {name}, whose packets come in by {master}; name {master} instead")]
    PortOfBond { name: String, master: String },
    #[error("{name} cannot have hook = \"xdp\", since {reason}; write hook = \"auto\" or \"tc\" for it")]
    Xdp { name: String, reason: String },
    #[error(
        "{0} is one uplink too many; an instance has at most {MAX_UPLINKS}, \
         so narrow the patterns of out, or start another natbpf with --instance"
    )]
    TooManyUplinks(String),
}

/// Works out what the datapath has to be told.
pub fn plan(config: &Config, snapshot: &Snapshot, missing: Missing) -> Result<Plan, PlanError> {
    plan_without(config, snapshot, missing, &Refused::new())
}

/// The same without interfaces that could not be had when it was tried.
pub fn plan_without(
    config: &Config,
    snapshot: &Snapshot,
    missing: Missing,
    refused: &Refused,
) -> Result<Plan, PlanError> {
    let mut plan = Plan { missing, ..Plan::default() };
    let mut rules: Vec<PlannedRule<'_>> = Vec::new();
    let candidates = Candidates { snapshot, refused, named: config.named_uplinks(snapshot) };
    for rule in &config.rules {
        let links = links(&rule.out, snapshot, missing)?;
        let mut uplinks = Vec::new();
        for link in links {
            if plan.add_uplink(link, rule.out.name().is_some(), &candidates)? {
                uplinks.push(link.index);
            }
        }
        let value = match &rule.action {
            Action::Masquerade(translation) => Some(plan.rule_value(translation, config)),
            Action::Exempt => None,
        };
        rules.push(PlannedRule { rule, uplinks, value, decides: false });
    }
    let forwards = config.forwards.iter().map(|forward| &forward.uplink);
    for name in forwards.chain(config.floating.iter().map(|floating| &floating.uplink)) {
        if let Some(link) = find(name, snapshot, missing)? {
            plan.add_uplink(link, true, &candidates)?;
        }
    }
    plan.compile(config, &mut rules);
    plan.serve(config, &rules, snapshot);
    plan.find_inside(config, &rules, snapshot, refused)?;
    plan.warn(config, &rules, snapshot);
    plan.find_ports(config, snapshot, missing)?;
    plan.choose_hooks(config, snapshot, missing)?;
    plan.chosen.clone_from(&plan.hooks);
    Ok(plan)
}

/// What uplinks are chosen among.
struct Candidates<'a> {
    snapshot: &'a Snapshot,
    refused: &'a Refused,
    /// Interface indexes of those that are named somewhere.
    named: BTreeSet<u32>,
}

/// A rule and what it comes to.
struct PlannedRule<'a> {
    rule: &'a MasqueradeRule,
    /// Interface indexes.
    uplinks: Vec<u32>,
    value: Option<Rule>,
    /// It is the first that matches something, on some uplink.
    decides: bool,
}

/// `eth0 (203.0.113.1)`
impl fmt::Display for PlannedUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = &self.uplink.addresses[..self.uplink.address_count as usize];
        let addresses: Vec<String> = addresses.iter().map(|address| address.local.to_string()).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        let state = if self.up { "" } else { ", down" };
        write!(f, "{} ({addresses}{state})", self.name)
    }
}

impl Plan {
    /// Names of the uplinks that have nothing to translate to. What a pattern matches need not have anything.
    pub fn without_address(&self) -> Vec<&str> {
        self.uplinks
            .iter()
            .filter(|uplink| uplink.named && uplink.uplink.address_count == 0)
            .map(|uplink| uplink.name.as_str())
            .collect()
    }

    /// Interface index, name and role of all that programs are attached to, in this order.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, &str, Role)> {
        let uplinks = self.uplinks.iter().map(|uplink| (uplink.interface, &*uplink.name, Role::Uplink));
        let inside = self.inside.iter().map(|inside| (inside.interface, &*inside.name, Role::Inside));
        let ports = self.ports.iter().map(|port| (port.interface, &*port.name, Role::Port));
        uplinks.chain(inside).chain(ports)
    }

    /// What the table of inside ports has to hold.
    pub fn port_table(&self) -> BTreeMap<u32, InsidePort> {
        self.ports.iter().map(|port| (port.interface, port.port)).collect()
    }

    /// Whether the datapath has to be told the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.uplinks == other.uplinks
            && self.has_same_rules(other)
            && self.forwards == other.forwards
            && self.externals == other.externals
            && self.inside == other.inside
            && self.ports == other.ports
            && self.has_same_hooks(other)
    }

    /// Back to what was chosen, to be tried again.
    pub fn choose_again(&mut self) {
        self.hooks.clone_from(&self.chosen);
    }

    /// What was chosen, whatever came of it.
    fn has_same_hooks(&self, other: &Self) -> bool {
        self.chosen == other.chosen
    }

    /// Whether every running flow is as much in its place as before, see [`Plan::placement`].
    pub fn has_same_places(&self, other: &Self) -> bool {
        self.uplinks == other.uplinks && self.pooled == other.pooled && self.forwards == other.forwards
    }

    /// Without inside ports, if there is no offload.
    pub fn with_offload(mut self, on: bool) -> Self {
        if !on {
            self.ports.clear();
            self.hooks.retain(|hook| hook.role == Role::Uplink);
            self.without_xdp();
            self.chosen.clone_from(&self.hooks);
        }
        self
    }

    pub fn has_same_rules(&self, other: &Self) -> bool {
        self.sources == other.sources && self.destinations == other.destinations && self.pools == other.pools
    }

    /// False: it is left out.
    fn add_uplink(
        &mut self,
        link: &Link,
        named: bool,
        candidates: &Candidates<'_>,
    ) -> Result<bool, PlanError> {
        let named = named || candidates.named.contains(&link.index);
        if let Some(known) = self.uplinks.iter_mut().find(|uplink| uplink.interface == link.index) {
            known.named |= named;
            return Ok(true);
        }
        if let Some(reason) = candidates.refused.get(&(link.index, Role::Uplink)) {
            self.leave_out(link, Role::Uplink, reason.clone());
            return Ok(false);
        }
        let Some(link_header) = link.link_header() else {
            let error = PlanError::LinkLayer { name: link.name.clone(), link_layer: link.link_layer };
            return self.refuse(link, Role::Uplink, named, error).map(|()| false);
        };
        // Whatever else a pattern matches, who is named has a place.
        let named_still = candidates.named.iter().filter(|index| **index != link.index);
        let named_still =
            named_still.filter(|index| !self.uplinks.iter().any(|known| known.interface == **index));
        let reserved = if candidates.named.contains(&link.index) { 0 } else { named_still.count() };
        if self.uplinks.len() + reserved >= MAX_UPLINKS {
            let error = PlanError::TooManyUplinks(link.name.clone());
            return self.refuse(link, Role::Uplink, named, error).map(|()| false);
        }
        let found = masquerade_addresses(candidates.snapshot, link.index);
        let mut addresses = [UplinkAddress::default(); MAX_ADDRESSES];
        addresses[..found.len()].copy_from_slice(&found);
        let address_count = found.len() as u32;
        let uplink = Uplink { interface: link.index, link_header, flags: 0, address_count, addresses };
        self.uplinks.push(PlannedUplink {
            name: link.name.clone(),
            interface: link.index,
            up: link.up,
            mac: link.mac.unwrap_or_default(),
            named,
            uplink,
        });
        Ok(true)
    }

    fn compile(&mut self, config: &Config, rules: &mut [PlannedRule<'_>]) {
        let mut compiler = Compiler::default();
        let everywhere = Networks::default();
        for uplink in &self.uplinks {
            let floating: Vec<(Networks, Rule)> = config
                .floating
                .iter()
                .filter(|floating| floating.uplink == uplink.name)
                .map(|floating| {
                    (Networks::from(floating.pair.inside), floating_rule(floating, config.datapath.max_flows))
                })
                .collect();
            // A host that has an address of its own needs no rule, and none takes it away.
            let floating = floating.iter().map(|(sources, rule)| OrderedRule {
                sources,
                destinations: &everywhere,
                except: &[],
                value: Some(*rule),
            });
            let (here, ordered): (Vec<usize>, Vec<OrderedRule<'_>>) = rules
                .iter()
                .enumerate()
                .filter(|(_, planned)| planned.uplinks.contains(&uplink.interface))
                .map(|(index, planned)| (index, planned.ordered()))
                .unzip();
            let ordered: Vec<OrderedRule<'_>> = floating.chain(ordered).collect();
            let decides = compiler.add_uplink(uplink.interface, &ordered);
            let first = ordered.len() - here.len();
            for (index, decides) in here.into_iter().zip(decides.into_iter().skip(first)) {
                rules[index].decides |= decides;
            }
        }
        self.sources = compiler.sources;
        self.destinations = compiler.destinations;
    }

    fn rule_value(&mut self, translation: &Translation, config: &Config) -> Rule {
        let behaviour = &translation.behaviour;
        let flags = [
            (translation.random, Rule::RANDOM),
            (behaviour.mapping == Mapping::AddressAndPortDependent, Rule::PER_DESTINATION),
            (translation.to_ports.is_some(), Rule::PORTS),
            (translation.pool.is_some(), Rule::POOL),
            (behaviour.filtering == Filtering::EndpointIndependent, Rule::OPEN),
            (behaviour.filtering == Filtering::AddressDependent, Rule::OPEN_TO_PEERS),
            (!behaviour.inbound_refresh, Rule::OUTBOUND_REFRESH),
        ];
        let flags = flags.into_iter().filter(|(is_so, _)| *is_so).fold(0, |flags, (_, flag)| flags | flag);
        let (first_port, last_port) =
            translation.to_ports.map_or((0, 0), |ports| (ports.first(), ports.last()));
        let interval = match translation.new_flows_per_second {
            0 => 0,
            rate => (SECOND / u64::from(rate)) as u32,
        };
        Rule {
            flags,
            first_port,
            last_port,
            pool: translation.pool.as_ref().map_or(0, |pool| self.pool(pool)),
            max_flows: behaviour.max_flows_per_source.limit(config.datapath.max_flows),
            interval,
            ..Rule::default()
        }
    }
}

impl<'a> PlannedRule<'a> {
    fn ordered(&self) -> OrderedRule<'a> {
        let except = match &self.rule.action {
            Action::Masquerade(translation) => &translation.except[..],
            Action::Exempt => &[],
        };
        OrderedRule {
            sources: &self.rule.sources,
            destinations: &self.rule.destinations,
            except,
            value: self.value,
        }
    }
}

/// The interfaces that are meant. A port of a bridge or bond is none by pattern: nothing is routed out of it.
fn links<'a>(out: &Interfaces, snapshot: &'a Snapshot, missing: Missing) -> Result<Vec<&'a Link>, PlanError> {
    if let Some(name) = out.name() {
        return Ok(find(name, snapshot, missing)?.into_iter().collect());
    }
    let meant = |link: &&Link| out.matches(&link.name) && !link.port && link.link_header().is_some();
    Ok(snapshot.links.iter().filter(meant).collect())
}

fn find<'a>(name: &str, snapshot: &'a Snapshot, missing: Missing) -> Result<Option<&'a Link>, PlanError> {
    let found = snapshot.links.iter().find(|link| link.name == name);
    if found.is_none() && missing == Missing::Refused {
        let existing = snapshot.links.iter().map(|link| link.name.clone()).collect();
        return Err(PlanError::NoInterface { name: name.to_owned(), existing });
    }
    Ok(found)
}
