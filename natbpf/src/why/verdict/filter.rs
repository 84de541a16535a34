//! Netfilter has dropped the packet.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Sight};

use super::case::{Case, MendAt as _, seen};
use crate::{
    doctor::{Found, Stage},
    facts::{Hook, Packet, Place},
    why::{
        link::Trouble,
        listing::Counted,
        rules::{Passage, of_verdict, suspects},
    },
};

/// A rule of a firewall: the one that has counted the probes, or the one that surely drops them as rules are read. What
/// else may have is said to be no more than that. Connection tracking drops as rules do where its table is full.
pub fn netfilter(case: &Case<'_>, drop: &Sight) -> Trouble {
    let known = case.known(drop.namespace);
    if let [rule] = case.rules {
        let counted = ("the rule's counter", "counted each probe, as no other rule's did");
        return certain(case, drop, rule, Some(counted));
    }
    if let Some(full) = known.and_then(full) {
        return Trouble { found: seen(case, drop, full.found), ..full };
    }
    if let Some(rule) = known.and_then(|known| modelled(case, known, drop)) {
        return certain(case, drop, &rule, None);
    }
    let suspects = match known {
        Some(known) if case.rules.is_empty() => suspects(&known.firewall, passage(known, drop), case.is_v6()),
        _ => case.rules.to_vec(),
    };
    possible(case, drop, &suspects)
}

/// There is no room for another flow.
fn full(place: &Place) -> Option<Trouble> {
    const LIMIT: &str = "net.netfilter.nf_conntrack_max";
    let number = |name: &str| place.settings.number(&format!("netfilter/{name}"));
    let (count, limit) = (number("nf_conntrack_count")?, number("nf_conntrack_max")?);
    if !is_full(count, limit) {
        return None;
    }
    let sentence = format!(
        "conntrack{} drops it: {count} of {limit} flows are in its table, so there is no room for a new one",
        place.within()
    );
    let found = Found::new(place, LIMIT, sentence)
        .seen("/proc/sys/net/netfilter/nf_conntrack_count", count)
        // No namespace but the first may set it.
        .global(format!("sysctl -w {LIMIT}={}", 2 * limit));
    Some(Trouble { name: "conntrack-full", stage: Stage::Conntrack, found })
}

/// Without a limit, which 0 says, it never is.
const fn is_full(count: u64, limit: u64) -> bool {
    limit > 0 && count >= limit
}

fn certain(case: &Case<'_>, drop: &Sight, rule: &Counted, counted: Option<(&str, &str)>) -> Trouble {
    let place = case.place(drop.namespace);
    let (table, chain, text) = (&rule.table, &rule.chain, &rule.text);
    let sentence = format!(
        "a rule of {}{} drops it, table {table}, chain {chain}: {text}",
        rule.shown_by(),
        place.within()
    );
    let mut found = Found::new(&place, text, sentence).mend_at(&place, rule.mend());
    if let Some((what, value)) = counted {
        found = found.seen(what, value);
    }
    Trouble { name: "dropped-by-rule", stage: Stage::Filter, found: seen(case, drop, found) }
}

fn possible(case: &Case<'_>, drop: &Sight, rules: &[Counted]) -> Trouble {
    let place = case.place(drop.namespace);
    let within = place.within();
    let texts: Vec<_> = rules.iter().map(|rule| rule.text.as_str()).take(4).collect();
    let sentence = match texts[..] {
        [] => format!("a rule{within} drops it"),
        [rule] => format!("a rule{within} drops it, maybe this one: {rule}"),
        _ => format!("a rule{within} drops it, maybe one of these: {}", texts.join("; ")),
    };
    let object = texts.first().copied().unwrap_or("rules");
    let list = rules.first().map_or_else(|| "nft -a list ruleset".to_owned(), Counted::listed);
    let found = Found::new(&place, object, sentence).mend_at(&place, list);
    Trouble { name: "dropped-by-rule", stage: Stage::Filter, found: seen(case, drop, found) }
}

fn passage(known: &Place, drop: &Sight) -> Passage {
    Passage::of(known, drop.ends.source.into(), drop.ends.destination.into())
}

/// What drops it, as the rules are read.
fn modelled(case: &Case<'_>, known: &Place, drop: &Sight) -> Option<Counted> {
    let ends = [drop.ends.source, drop.ends.destination].map(IpAddr::from);
    // Rules for IPv6 are not read so far.
    let [IpAddr::V4(source), IpAddr::V4(destination)] = ends else { return None };
    let passage = passage(known, drop);
    let input = || Some(case.hop_of(drop)?.name.as_str());
    let output = || {
        let route = known.route_to(destination.into())?;
        Some(known.device(route.hops.first()?.device)?.name.as_str())
    };
    let (hooks, input, output): (&[Hook], _, _) = match passage {
        Passage::In => (&[Hook::Prerouting, Hook::Input], input()?, ""),
        Passage::Through => (&[Hook::Prerouting, Hook::Forward, Hook::Postrouting], input()?, output()?),
        Passage::Out => (&[Hook::Output, Hook::Postrouting], "", output()?),
    };
    let mut packet = Packet::forwarded(input, output, source, destination);
    (packet.to_host, packet.from_host) = (passage == Passage::In, passage == Passage::Out);
    packet.protocol = drop.ends.protocol as u8;
    packet.source_port = drop.ends.source_port.number();
    packet.port = drop.ends.destination_port.number();
    packet.established = drop.part == Part::Reply as u32;
    of_verdict(&known.firewall, &known.firewall.drops(hooks, &packet)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_a_limit_is_never_full() {
        assert!(is_full(10, 10) && is_full(11, 10));
        assert!(!is_full(9, 10) && !is_full(10, 0));
    }
}
