//! Which route a packet takes that comes from elsewhere, as the routing policy and its tables say.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr},
};

use super::{Device, Place, Route, Rule};

/// A packet that is to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The device that it comes by.
    pub input: &'a str,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// What is found for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Leads(&'a Rule, &'a Route),
    /// By a rule, or by a route of the table that it leads to.
    Refused(&'a Rule, Option<&'a Route>),
    /// Nothing is for it.
    Nowhere,
    /// A rule asks for a mark, or for something else that is not known of it.
    Unknown,
}

impl Place {
    /// Where a VRF is, nothing is known: firewalls see its packets twice, by the device and by the VRF.
    pub fn lookup(&self, query: Query<'_>) -> Lookup<'_> {
        self.find(query, None)
    }

    /// The route alone, also where there are VRFs.
    pub fn lookup_with_vrfs(&self, query: Query<'_>) -> Lookup<'_> {
        // Which device that would be is another question there.
        if self.rules.iter().any(|rule| !rule.v6 && rule.input.is_some()) {
            return Lookup::Unknown;
        }
        let vrf = self.named(query.input).and_then(|device| self.vrf(device));
        self.find(query, Some(vrf.and_then(|vrf| vrf.table)))
    }

    /// The VRF that a device is in.
    pub fn vrf(&self, device: &Device) -> Option<&Device> {
        self.device(device.master?).filter(|master| master.table.is_some())
    }

    /// `of_vrf`: the table of the packet's VRF, if it has one; `None`: that is not known.
    fn find(&self, query: Query<'_>, of_vrf: Option<Option<u32>>) -> Lookup<'_> {
        let mut rules: Vec<_> = self.rules.iter().filter(|rule| !rule.v6).collect();
        rules.sort_by_key(|rule| rule.priority);
        for rule in rules.into_iter().filter(|rule| rule.may_be_for(query)) {
            let table = if rule.of_vrf { of_vrf } else { Some(rule.table) };
            let Some(table) = table.filter(|_| !rule.special) else { return Lookup::Unknown };
            if rule.refuses.is_some() {
                return Lookup::Refused(rule, None);
            }
            let Some(route) = table.and_then(|table| self.best(table, query.destination)) else {
                continue;
            };
            let length = u32::from(route.destination.prefix_len());
            if route.kind == "throw" || rule.suppress.is_some_and(|suppressed| length <= suppressed) {
                continue;
            }
            return match (route.refuses, &route.hops[..]) {
                (true, _) => Lookup::Refused(rule, Some(route)),
                // A nexthop object that is not shown in full.
                (false, []) => Lookup::Unknown,
                (false, _) => Lookup::Leads(rule, route),
            };
        }
        Lookup::Nowhere
    }

    fn best(&self, table: u32, destination: Ipv4Addr) -> Option<&Route> {
        let address = IpAddr::V4(destination);
        let routes = self.routes.iter().filter(|route| route.table == table);
        let routes = routes.filter(|route| route.destination.contains(&address));
        routes.min_by_key(|route| (Reverse(route.destination.prefix_len()), route.metric))
    }
}

impl Rule {
    fn may_be_for(&self, query: Query<'_>) -> bool {
        let holds = |net: Option<ipnet::IpNet>, address: Ipv4Addr| {
            net.is_none_or(|net| net.contains(&IpAddr::V4(address)))
        };
        let matches = holds(self.source, query.source)
            && holds(self.destination, query.destination)
            && self.input.as_ref().is_none_or(|input| input == query.input)
            && self.output.is_none();
        matches || self.special
    }
}
