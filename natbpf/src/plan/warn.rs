//! What the operator should know of a plan, a sentence each.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use natbpf_common::{
    Address,
    contract::{forwards::ForwardKey, uplinks::MAX_ADDRESSES},
};

use super::{Plan, PlannedRule};
use crate::{
    address::{borrowed_address, own_addresses},
    config::Config,
    datapath::Role,
    network::{Ipv4Address, Snapshot},
};

impl Plan {
    pub(super) fn warn(&mut self, config: &Config, rules: &[PlannedRule<'_>], snapshot: &Snapshot) {
        let mut warnings = Vec::new();
        // What a pattern matches, nobody may have meant.
        for uplink in self.uplinks.iter().filter(|uplink| uplink.named) {
            warn_of_uplink(&uplink.name, uplink.interface, uplink.up, snapshot, &mut warnings);
        }
        for (number, planned) in (1..).zip(rules) {
            let left_out = || self.left_out.iter().filter(|left| left.role == Role::Uplink);
            if planned.uplinks.is_empty() && left_out().any(|left| planned.rule.out.matches(&left.name)) {
                // That is said by itself.
            } else if planned.uplinks.is_empty() {
                warnings.push(format!(
                    "no interface is matched by out = \"{}\" of rule {number} as yet; it counts as soon as one comes",
                    planned.rule.out
                ));
            } else if !planned.decides {
                warnings.push(format!(
                    "rule {number} (out {}, source {}, destination {}) decides nothing: the rules before it, \
                     or what it excludes itself, leave nothing to it; move it up, or leave it out",
                    planned.rule.out, planned.rule.sources, planned.rule.destinations
                ));
            }
            for uplink in &planned.uplinks {
                warnings.extend(overlap(planned, *uplink, snapshot));
            }
        }
        self.warn_of_own_addresses(&mut warnings);
        self.warn_of_other_ways_out(snapshot, &mut warnings);
        if self.inside.is_empty() && config.looks_for_inside() {
            warnings.push(
                "hairpin is on, and no Ethernet interface leads to the hosts that it is for; \
                 name one with inside if there is one"
                    .to_owned(),
            );
        }
        self.warnings = warnings;
    }
}

impl Plan {
    /// All that arrives for a floating address goes to its host.
    fn warn_of_own_addresses(&self, warnings: &mut Vec<String>) {
        let fixed = self.forwards.iter().filter(|(length, ..)| *length == ForwardKey::ADDRESS_BITS);
        for (_, key, forward) in fixed {
            let uplink = self.uplinks.iter().find(|uplink| uplink.interface == key.uplink);
            if let Some(uplink) =
                uplink.filter(|uplink| uplink.addresses().any(|own| Address::from(own) == key.address))
            {
                warnings.push(format!(
                    "the floating address {} is the address of {} itself, so all that arrives for the gateway goes to {}; \
                     choose another address, or forward single ports",
                    key.address, uplink.name, forward.address
                ));
            }
        }
    }
}

impl Plan {
    /// Netfilter translates an answer back wherever it comes in; natbpf at its uplinks alone. (Where the plan asks for no routes, there are
    /// none to see.)
    fn warn_of_other_ways_out(&self, snapshot: &Snapshot, warnings: &mut Vec<String>) {
        if self.uplinks.is_empty() {
            return;
        }
        let is_said = |interface: u32, name: &str| {
            self.uplinks.iter().any(|uplink| uplink.interface == interface)
                || self.left_out.iter().any(|left| left.name == name)
        };
        let defaults = snapshot.routes.iter().filter(|route| route.network.prefix_len() == 0);
        let interfaces: BTreeSet<u32> = defaults.map(|route| route.interface).collect();
        for interface in interfaces {
            let name = snapshot.name(interface);
            if !is_said(interface, &name) {
                warnings.push(format!(
                    "{name} has a default route, too, and is no uplink: what leaves by it is not translated, and neither are \
                     replies that come in by it; name it as out of a rule if traffic of instances takes that way"
                ));
            }
        }
    }
}

fn warn_of_uplink(name: &str, interface: u32, up: bool, snapshot: &Snapshot, warnings: &mut Vec<String>) {
    if !up {
        warnings.push(format!(
            "{name} is down, so nothing leaves by it; bring it up with: ip link set {name} up"
        ));
    }
    let count = own_addresses(snapshot, interface).count();
    if count > MAX_ADDRESSES {
        warnings.push(format!(
            "{name} has {count} addresses to masquerade with; only the first {MAX_ADDRESSES} are used"
        ));
    }
    if count == 0
        && let Some(borrowed) = borrowed_address(snapshot, interface)
    {
        let owner = snapshot.name(borrowed.interface);
        warnings.push(format!(
            "{name} has no address of its own, so its traffic takes {} of {owner}, as with iptables; \
             give {name} an address if replies do not come back",
            borrowed.local
        ));
    }
}

/// Where inside and outside have addresses in common. Every source holds every address, so only networks that were written
/// down are worth a word.
fn overlap(planned: &PlannedRule<'_>, uplink: u32, snapshot: &Snapshot) -> Option<String> {
    planned.value?;
    let sources = &planned.rule.sources;
    if sources.included.iter().all(|network| network.prefix_len() == 0) {
        return None;
    }
    let name = snapshot.name(uplink);
    own_addresses(snapshot, uplink).find_map(|own| {
        let outside = network(own)?;
        if !sources.touches(outside) {
            return None;
        }
        let inside = snapshot.addresses.iter().filter(|other| other.interface != uplink);
        let inside = inside.filter_map(|other| Some((other, network(other)?)));
        if let Some((other, inside)) = inside.into_iter().find(|(_, inside)| inside.contains(&outside) || outside.contains(inside)) {
            return Some(format!(
                "the network {outside} of the uplink {name} overlaps {inside} of {}, so the kernel cannot tell \
                 the two sides apart, and packets take the wrong way; give one of them other addresses",
                snapshot.name(other.interface)
            ));
        }
        let source = sources.included.iter().find(|source| source.contains(&outside) || outside.contains(*source))?;
        let what = if sources.contains(own.local) {
            format!("holds {}, the address of the uplink {name} itself", own.local)
        } else {
            format!("overlaps {outside}, the network of the uplink {name}")
        };
        Some(format!(
            "the source {source} {what}; neighbours on the outside that use {} as their gateway are masqueraded too",
            own.local
        ))
    })
}

/// The subnet of an address.
fn network(address: &Ipv4Address) -> Option<Ipv4Net> {
    Some(Ipv4Net::new(address.peer, address.prefix_length).ok()?.trunc())
}
