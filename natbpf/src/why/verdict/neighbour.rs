//! Somebody has to be asked for his hardware address, and does not answer.

use std::net::IpAddr;

use natbpf_common::contract::follow::{REPLY, REQUEST};

use super::case::Case;
use crate::{
    doctor::{Found, Stage},
    why::link::{Trouble, between},
};

/// Who passes it on asks for a neighbour, and nobody answers.
pub fn neighbour(case: &Case<'_>, cookie: u64, is_reply: bool) -> Option<Trouble> {
    let known = case.known(cookie)?;
    let asks = case.trace.questions.iter().rev().filter(|sight| {
        let is_own = known.has(sight.ends.source.into());
        sight.namespace == cookie && sight.ends.protocol == REQUEST && is_own
    });
    let unanswered = asks.map(|sight| (sight, IpAddr::from(sight.ends.destination))).find(|(_, target)| {
        !case.trace.questions.iter().any(|sight| {
            sight.ends.protocol == REPLY
                && IpAddr::from(sight.ends.source) == *target
                && sight.namespace == cookie
        })
    });
    let (ask, target) = unanswered?;
    let device = known.device(ask.device)?;
    let within = known.within();
    let asked = format!("who has {target}? tell {}", IpAddr::from(ask.ends.source));
    if let Some(mut trouble) = between(case.host, (known, device), target) {
        trouble.found = trouble
            .found
            .seen(format!("{} at {}", case.asking(), device.name), format!("{asked}: no answer"));
        return Some(trouble);
    }
    let direction = if is_reply { "the answer" } else { "it" };
    let sentence = format!(
        "{direction} waits{within}: who should answer {} for {target}? It is asked for on {}, and nobody does",
        case.asking(),
        device.name
    );
    let gateway = known.routes.iter().flat_map(|route| &route.hops).any(|hop| hop.gateway == Some(target));
    let mend = if gateway {
        case.ip(&format!("route replace default via GATEWAY dev {}", device.name))
    } else {
        case.ask(target, &device.name)
    };
    let found = Found::new(known, target.to_string(), sentence)
        .seen(format!("{} at {}", case.asking(), device.name), asked)
        .mend(known, mend);
    Some(Trouble { name: "neighbour-silent", stage: Stage::Neighbour, found })
}
