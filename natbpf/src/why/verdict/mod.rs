//! The cause, from what was seen of a packet and what the host has.

mod case;
mod dropped;
mod filter;
mod mtu;
mod neighbour;
mod refused;
mod routing;
mod silent;
mod unheard;

pub use case::Case;

use std::net::IpAddr;

use ipnet::IpNet;
use natbpf_common::contract::follow::Sight;

use super::{link::Trouble, subject::NextHop};
use crate::doctor::{Cause, Finding, Found, Severity, Stage};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives and is answered; what else there is to say of it.
    Answered(Vec<String>),
    Cause {
        name: String,
        stage: Stage,
        found: Found,
    },
}

/// What the case comes to.
pub fn decide(case: &Case<'_>) -> Verdict {
    if case.trace.answered.is_none() {
        return joined(case, unanswered(case));
    }
    match case.long.filter(|(_, trace)| trace.answered.is_none()) {
        Some((length, trace)) => match mtu::of_long_ping(case, length, trace) {
            Ok(trouble) => joined(case, trouble),
            Err(note) => Verdict::Answered(vec![note]),
        },
        None => Verdict::Answered(Vec::new()),
    }
}

fn unanswered(case: &Case<'_>) -> Trouble {
    if case.next_hop == NextHop::None {
        return unheard::no_route(case);
    }
    if case.sent && case.chased.gateway.is_none() {
        return unheard::no_gateway(case);
    }
    if case.trace.there.is_empty() && case.trace.drops.is_empty() {
        return unheard::never_left(case);
    }
    // Of what ICMPv6 is not told, it lets go as of a drop.
    let is_taken = |drop: &&Sight| case.names.function(drop.location) == "icmpv6_rcv";
    let reset = case.trace.reset.as_ref();
    let drop = match reset {
        Some(reset) => case.trace.drops.iter().rev().find(|drop| refused::is_of_reset(drop, reset)),
        None => case.trace.drops.last(),
    };
    if let Some(drop) = drop.filter(|drop| !is_taken(drop)) {
        return dropped::explain(case, drop);
    }
    if let Some(reset) = reset {
        return refused::by_reset(case, reset);
    }
    if let Some(error) = case.trace.errors.first() {
        return refused::by_icmp(case, error);
    }
    match case.trace.last() {
        Some((last, is_reply)) => silent::explain(case, last, is_reply),
        None => unheard::never_left(case),
    }
}

/// Whether a cause is about packets of a family alone, and of this one. Those of IPv6 have its name.
fn is_for_family(cause: &Cause, is_v6: bool) -> Option<bool> {
    let of_v6 = cause.name.ends_with("-ipv6");
    // Devices and bridges have no family.
    let of_any = !of_v6 && matches!(cause.stage, Stage::Link | Stage::Bridge);
    (is_v6 && !of_any || of_v6).then_some(of_v6 == is_v6)
}

/// Whether what was found may be about packets with these ends: it names no network, or one that has one of them.
fn may_concern(found: &Found, ends: [IpAddr; 2]) -> bool {
    let words = found.object.split_whitespace().chain(found.sentence.split_whitespace());
    let trimmed = words.map(|word| word.trim_end_matches([',', ':', ';', '.']));
    // A rule for all destinations says nothing.
    let mut networks = trimmed
        .filter(|word| word.contains('/'))
        .filter_map(|word| word.parse::<IpNet>().ok())
        .filter(|net| net.prefix_len() > 0)
        .peekable();
    networks.peek().is_none() || networks.any(|net| ends.iter().any(|end| net.contains(end)))
}

/// In the doctor's words, where it has found the same: its cause is the same in the same place.
fn joined(case: &Case<'_>, trouble: Trouble) -> Verdict {
    let Trouble { name, stage, found } = trouble;
    let same = |finding: &&Finding| {
        // A policy has its counter behind it.
        let by_object = finding.found.object.split(" [").next() == Some(&*found.object)
            || matches!(stage, Stage::Forwarding | Stage::Translation | Stage::Routing);
        let is_for_family = is_for_family(finding.cause, case.is_v6());
        (finding.cause.severity == Severity::Error || is_for_family == Some(true))
            && is_for_family != Some(false)
            && finding.cause.stage == stage
            && finding.found.place == found.place
            && by_object
            && may_concern(&finding.found, [case.subject.address, case.destination])
    };
    match case.findings.iter().find(same) {
        Some(finding) => {
            let mut joined = finding.found.clone();
            joined.evidence.extend(found.evidence);
            Verdict::Cause { name: finding.cause.name.to_owned(), stage, found: joined }
        }
        None => Verdict::Cause { name: name.to_owned(), stage, found },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_of_another_network_is_another_matter() {
        let ends = [[10, 0, 0, 11].into(), [203, 0, 113, 10].into()];
        let concerns = |object: &str, sentence: &str| {
            let (object, sentence) = (object.to_owned(), sentence.to_owned());
            may_concern(&Found { object, sentence, ..Found::default() }, ends)
        };
        assert!(concerns("10.0.0.0/24", "nothing translates 10.0.0.0/24") && concerns("eth0", "it is down"));
        assert!(!concerns("10.9.0.0/24", "nothing translates it"));
        // A rule that both meet, told of the other network; the route of a network to the destination.
        assert!(!concerns("-A FORWARD -j DROP", "packets of 10.9.0.0/24, to the outside, are dropped"));
        assert!(concerns("203.0.113.0/24", "no route leads there") && concerns("default", "no 0.0.0.0/0"));
    }
}
