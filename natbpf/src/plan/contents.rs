//! What the datapath has to be told.

use std::collections::BTreeMap;

use natbpf_common::{
    Address, IfIndex,
    contract::{
        edges::Edge,
        forwards::{External, ExternalKey, Pool},
        rules::{Rule, RuleFlags},
    },
};

use super::{
    DestinationEntry, ForwardEntry, LeftOut, Missing, PlannedHook, PlannedInside, PlannedPort, PlannedUplink,
    SourceEntry,
};
use crate::datapath::Role;

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
    pub pooled: Vec<(IfIndex, Address)>,
    pub forwards: Vec<ForwardEntry>,
    pub externals: Vec<(ExternalKey, External)>,
    /// Interfaces that inside hosts send by, where hairpinning is on.
    pub inside: Vec<PlannedInside>,
    /// Whose flows are offloaded.
    pub ports: Vec<PlannedPort>,
    /// What packets may pass between edges: name and index of each device, by groups that are connected.
    pub passed: Vec<Vec<(String, IfIndex)>>,
    /// Those of the uplinks and ports.
    pub hooks: Vec<PlannedHook>,
    /// The same, before anybody has tried.
    pub(super) chosen: Vec<PlannedHook>,
    /// What becomes of what cannot be had.
    pub missing: Missing,
    /// Interfaces that are meant and cannot be had.
    pub left_out: Vec<LeftOut>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Where programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Interface index and role.
    pub at: (IfIndex, Role),
    pub name: &'a str,
    /// Not to be had is a mistake, see [`Missing`].
    pub strict: bool,
}

impl Plan {
    /// Names of the uplinks that have nothing to translate to. What a pattern matches need not have anything.
    pub fn without_address(&self) -> Vec<&str> {
        let without = |uplink: &&PlannedUplink| uplink.named && uplink.uplink.address_count == 0;
        self.uplinks.iter().filter(without).map(|uplink| &*uplink.name).collect()
    }

    /// All that programs are attached to, in this order.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let strict = self.missing == Missing::Refused;
        let place = move |interface, name, role, named| Place {
            at: (interface, role),
            name,
            strict: strict && named,
        };
        let uplinks = self.uplinks.iter();
        let uplinks =
            uplinks.map(move |uplink| place(uplink.interface, &*uplink.name, Role::Uplink, uplink.named));
        let inside = self.inside.iter();
        let inside =
            inside.map(move |inside| place(inside.interface, &*inside.name, Role::Inside, inside.named));
        let ports = self.ports.iter().map(move |port| place(port.interface, &*port.name, Role::Port, false));
        uplinks.chain(inside).chain(ports)
    }

    /// The same without the ports, which have time, and a turn of their own.
    pub fn few(&self) -> impl Iterator<Item = Place<'_>> {
        self.places().filter(|place| place.at.1 != Role::Port)
    }

    /// What the table of inside ports has to hold.
    pub fn port_table(&self) -> BTreeMap<IfIndex, Edge> {
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
            && self.passed == other.passed
            // What was chosen, whatever came of it.
            && self.chosen == other.chosen
    }

    /// Back to what was chosen, to be tried again.
    pub fn choose_again(&mut self) {
        self.hooks.clone_from(&self.chosen);
    }

    /// Whether every running flow is as much in its place as before, see [`Plan::placement`].
    pub fn has_same_places(&self, other: &Self) -> bool {
        self.uplinks == other.uplinks && self.pooled == other.pooled && self.forwards == other.forwards
    }

    /// Without inside ports, if there is no offload.
    pub fn with_offload(mut self, on: bool) -> Self {
        if !on {
            self.ports.clear();
            self.passed.clear();
            self.hooks.retain(|hook| hook.role == Role::Uplink);
            self.hooks.iter_mut().for_each(PlannedHook::leave_to_tc);
            self.chosen.clone_from(&self.hooks);
        }
        self
    }

    pub fn has_same_rules(&self, other: &Self) -> bool {
        self.sources == other.sources && self.destinations == other.destinations && self.pools == other.pools
    }

    /// The rules with the places that their pools have in the datapath.
    pub fn with_pools(&self, places: &[u32]) -> (Vec<SourceEntry>, Vec<DestinationEntry>) {
        let placed = |rule: Rule| match places.get(rule.pool as usize) {
            Some(&pool) if rule.has(RuleFlags::POOL) => Rule { pool, ..rule },
            _ => rule,
        };
        (
            self.sources.iter().map(|&(length, key, rule)| (length, key, placed(rule))).collect(),
            self.destinations.iter().map(|&(length, key, rule)| (length, key, placed(rule))).collect(),
        )
    }
}
