//! What the operator should know of a plan, a sentence each.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use natbpf_common::{
    Address, IfIndex,
    contract::{forwards::ForwardKey, uplinks::MAX_ADDRESSES},
};

use super::{Given, PlannedUplink, inside::Inside, rules::PlannedRule, serve::Served, uplinks::Uplinks};
use crate::{
    address::{borrowed_address, own_addresses},
    network::Snapshot,
};

/// All but those of ports and hooks, which come from where these are chosen.
pub fn warnings(
    given: &Given<'_>,
    uplinks: &Uplinks,
    rules: &[PlannedRule<'_>],
    served: &Served,
    inside: &Inside,
) -> Vec<String> {
    let mut warnings = Vec::new();
    // What a pattern matches, nobody may have meant.
    for uplink in uplinks.planned.iter().filter(|uplink| uplink.named) {
        of_uplink(uplink, given.snapshot, &mut warnings);
    }
    for (number, planned) in (1..).zip(rules) {
        warnings.extend(of_rule(number, planned, uplinks));
        let overlaps = planned.uplinks.iter().filter_map(|uplink| overlap(planned, *uplink, given.snapshot));
        warnings.extend(overlaps);
    }
    warnings.extend(of_own_addresses(uplinks, served));
    warnings.extend(of_other_paths_out(given.snapshot, uplinks, inside));
    if inside.planned.is_empty() && given.config.looks_for_inside() {
        warnings.push(
            "hairpin is on, and no Ethernet interface leads to the hosts that it is for; \
             name one with inside if there is one"
                .to_owned(),
        );
    }
    warnings
}

fn of_rule(number: usize, planned: &PlannedRule<'_>, uplinks: &Uplinks) -> Option<String> {
    let rule = planned.rule;
    match planned.uplinks[..] {
        // That is said by itself.
        [] if uplinks.left_out.iter().any(|left| rule.out.matches(&left.name)) => None,
        [] => Some(format!(
            "no interface is matched by out = \"{}\" of rule {number} as yet; it counts as soon as one comes",
            rule.out
        )),
        [_, ..] if !planned.decides => Some(format!(
            "rule {number} (out {}, source {}, destination {}) decides nothing: the rules before it, \
             or what it excludes itself, leave nothing to it; move it up, or leave it out",
            rule.out, rule.sources, rule.destinations
        )),
        [_, ..] => None,
    }
}

/// All that arrives for a floating address goes to its host.
fn of_own_addresses(uplinks: &Uplinks, served: &Served) -> Vec<String> {
    let fixed = served.forwards.iter().filter(|(length, ..)| *length == ForwardKey::ADDRESS_BITS);
    let warnings = fixed.filter_map(|(_, key, forward)| {
        let uplink = uplinks.planned.iter().find(|uplink| uplink.interface == key.uplink)?;
        uplink.addresses().any(|own| Address::from(own) == key.address).then(|| {
            format!(
                "the floating address {} is the address of {} itself, so all that arrives for the gateway goes \
                 to {}; choose another address, or forward single ports",
                key.address, uplink.name, forward.address
            )
        })
    });
    warnings.collect()
}

/// Netfilter translates an answer back wherever it comes in; natbpf at its uplinks alone. (Where the plan asks for no
/// routes, there are none to see.)
fn of_other_paths_out(snapshot: &Snapshot, uplinks: &Uplinks, inside: &Inside) -> Vec<String> {
    if uplinks.planned.is_empty() {
        return Vec::new();
    }
    let left_out = || uplinks.left_out.iter().chain(&inside.left_out);
    let is_said = |interface: IfIndex, name: &str| {
        uplinks.planned.iter().any(|uplink| uplink.interface == interface)
            || left_out().any(|left| left.name == name)
    };
    let defaults = snapshot.routes.iter().filter(|route| route.network.prefix_len() == 0);
    let interfaces: BTreeSet<IfIndex> = defaults.map(|route| route.interface).collect();
    let names = interfaces.into_iter().map(|interface| (interface, snapshot.name(interface)));
    let unsaid = names.filter(|(interface, name)| !is_said(*interface, name));
    let warning = |(_, name)| {
        format!(
            "{name} has a default route, too, and is no uplink: what leaves by it is not translated, and neither are \
             replies that come in by it; name it as out of a rule if traffic of instances takes that way"
        )
    };
    unsaid.map(warning).collect()
}

fn of_uplink(uplink: &PlannedUplink, snapshot: &Snapshot, warnings: &mut Vec<String>) {
    let (name, interface) = (&uplink.name, uplink.interface);
    if !uplink.up {
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

/// Where inside and outside have addresses in common. Every source holds every address, so only networks that
/// were written down are worth a word. Row U14.
fn overlap(planned: &PlannedRule<'_>, uplink: IfIndex, snapshot: &Snapshot) -> Option<String> {
    planned.value?;
    let sources = &planned.rule.sources;
    if sources.included.iter().all(|network| network.prefix_len() == 0) {
        return None;
    }
    let name = snapshot.name(uplink);
    own_addresses(snapshot, uplink).find_map(|own| {
        let outside = own.network()?;
        if !sources.touches(outside) {
            return None;
        }
        let inside = snapshot.addresses.iter().filter(|other| other.interface != uplink);
        let mut inside = inside.filter_map(|other| Some((other, other.network()?)));
        if let Some((other, inside)) = inside.find(|(_, inside)| overlaps(inside, &outside)) {
            return Some(format!(
                "the network {outside} of the uplink {name} overlaps {inside} of {}, so the kernel cannot tell \
                 the two sides apart, and packets take the wrong way; give one of them other addresses",
                snapshot.name(other.interface)
            ));
        }
        let source = sources.included.iter().find(|source| overlaps(source, &outside))?;
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

fn overlaps(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}
