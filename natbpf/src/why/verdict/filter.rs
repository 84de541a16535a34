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
        rules::{Passage, of_text, suspects},
    },
};

/// A rule of a firewall: the one that has counted the probes, or the one that surely drops them as rules are read. What
/// else may have is said to be no more than that.
pub fn rule(case: &Case<'_>, drop: &Sight) -> Trouble {
    let known = case.known(drop.namespace);
    if let [rule] = case.rules {
        let counted = ("the rule's counter", "counted each probe, as no other rule's did");
        return certain(case, drop, rule, Some(counted));
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
    let hop = case.hop_of(drop)?;
    let [source, destination] = [drop.ends.source, drop.ends.destination].map(IpAddr::from);
    let output = known.device(known.route_to(destination)?.hops.first()?.device)?;
    // Rules for IPv6 are not read so far.
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else { return None };
    let mut packet = Packet::forwarded(&hop.name, &output.name, source, destination);
    packet.protocol = drop.ends.protocol as u8;
    packet.source_port = drop.ends.source_port.number();
    packet.port = drop.ends.destination_port.number();
    packet.established = drop.part == Part::Reply as u32;
    let rule = known.firewall.drops(&[Hook::Prerouting, Hook::Forward, Hook::Postrouting], &packet)?;
    of_text(&known.firewall, &rule.text, false)
}
