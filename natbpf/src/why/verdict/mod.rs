//! The cause, from what was seen of a packet and what the host has.

mod dropped;
mod silent;
mod unheard;

use std::net::Ipv4Addr;

use natbpf_common::contract::follow::{Point, Sight};

use super::{
    chase::Chased,
    kernel::Names,
    link::Trouble,
    rules::Counted,
    subject::{NextHop, Subject},
    trace::{Hop, Trace, name},
};
use crate::{
    doctor::{Finding, Found, Severity, Stage},
    facts::{Host, Place},
};

/// All that is known.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub host: &'a Host,
    /// What the host has wrong by looks alone.
    pub findings: &'a [Finding],
    pub subject: &'a Subject<'a>,
    pub next_hop: NextHop,
    pub destination: Ipv4Addr,
    pub chased: &'a Chased,
    pub trace: &'a Trace,
    /// Of a ping that fills the MTU.
    pub long: Option<(u32, &'a Trace)>,
    pub names: &'a Names,
    /// The rule that has counted the probe when it was sent again.
    pub rule: Option<&'a Counted>,
    /// A probe was sent, or real packets were waited for.
    pub sent: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives and is answered.
    Answered,
    Cause {
        name: String,
        stage: Stage,
        found: Found,
    },
}

/// What the case comes to.
pub fn decide(case: &Case<'_>) -> Verdict {
    let trouble = if case.trace.answered.is_none() {
        Some(unanswered(case))
    } else {
        case.long.filter(|(_, trace)| trace.answered.is_none()).map(|(length, trace)| {
            let case = Case { trace, ..*case };
            dropped::too_long(&case, Some(length), None)
        })
    };
    trouble.map_or(Verdict::Answered, |trouble| joined(case, trouble))
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
    if let Some(drop) = case.trace.drops.last() {
        return dropped::explain(case, drop);
    }
    match case.trace.errors.first() {
        Some(error) => dropped::refused(case, error),
        None => silent::explain(case),
    }
}

/// In the doctor's words, where it has found the same: its cause is the same in the same place.
fn joined(case: &Case<'_>, trouble: Trouble) -> Verdict {
    let Trouble { name, stage, found } = trouble;
    let same = |finding: &&Finding| {
        // A policy has its counter behind it.
        let by_object = finding.found.object.split(" [").next() == Some(&*found.object)
            || matches!(stage, Stage::Forwarding | Stage::Translation | Stage::Routing);
        finding.cause.severity == Severity::Error
            && finding.cause.stage == stage
            && finding.found.place == found.place
            && by_object
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

impl<'a> Case<'a> {
    /// The namespace of something that was seen; none of those that were looked at: one without a name.
    fn place(&self, cookie: u64) -> Place {
        match self.host.at(cookie) {
            Some(place) => Place {
                name: place.name.clone(),
                command: place.command.clone(),
                cookie: place.cookie,
                ..Place::default()
            },
            None => Place { name: "a network namespace that is not seen".to_owned(), ..Place::default() },
        }
    }

    fn known(&self, cookie: u64) -> Option<&'a Place> {
        self.host.at(cookie)
    }

    /// The part of the way that a drop is of, and the hop where it was last.
    fn hop_of(&self, sight: &Sight) -> Option<&'a Hop> {
        let is_reply = sight.part == natbpf_common::contract::follow::Part::Reply as u32;
        let hops = if is_reply { &self.trace.back } else { &self.trace.there };
        hops.iter().rev().find(|hop| hop.place == sight.namespace || sight.namespace == 0)
    }

    /// `NETFILTER_DROP in nf_hook_slow`, for the evidence.
    fn cause_of(&self, drop: &Sight) -> String {
        let (reason, function) = (self.names.reason(drop.reason), self.names.function(drop.location));
        match (reason, function) {
            ("", "") => "no reason is told".to_owned(),
            ("", function) => format!("in {function}"),
            (reason, "") => reason.to_owned(),
            (reason, function) => format!("{reason} in {function}"),
        }
    }
}

/// Name of the device of a sight, or that it has none.
fn device(sight: &Sight) -> String {
    let name = name(sight);
    if name.is_empty() { "no device".to_owned() } else { name }
}

/// Whether somebody who has the destination took the packet.
fn is_taken(case: &Case<'_>, place: u64) -> bool {
    case.trace.taken.iter().any(|sight| sight.namespace == place && sight.point == Point::Consumed as u32)
}
