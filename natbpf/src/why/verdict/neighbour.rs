//! Somebody has to be asked for his hardware address, and does not answer.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Point, REPLY, REQUEST};

use super::case::Case;
use crate::{
    doctor::{Found, Stage},
    facts::{Place, Route},
    why::link::{Trouble, between},
};

/// Who passes a packet on asks for the one that it goes to next, and nobody answers. `ends`: as the packet has them.
pub fn neighbour(
    case: &Case<'_>,
    cookie: u64,
    (source, destination): (IpAddr, IpAddr),
    is_reply: bool,
) -> Option<Trouble> {
    let known = case.known(cookie)?;
    let mut ends = vec![destination];
    if known.has(destination) {
        // It may be translated, or there is an answer already.
        ends.push(if is_reply { case.subject.address } else { source });
        ends.extend(known.firewall.forwards().into_iter().map(|(_, forward)| IpAddr::V4(forward.to)));
    }
    let is_next = |target: IpAddr| {
        ends.contains(&target) || ends.iter().any(|end| leads(known, *end, target).is_some())
    };
    let mut asks = case.trace.questions.iter().filter(|sight| {
        let is_sent = [Point::Queued, Point::Sent].iter().any(|point| sight.point == *point as u32);
        let is_own = known.has(sight.ends.source.into());
        is_sent && sight.namespace == cookie && sight.ends.protocol == REQUEST && is_own
    });
    let ask = asks.find(|sight| {
        let target = IpAddr::from(sight.ends.destination);
        let is_answered = case.trace.questions.iter().any(|sight| {
            sight.ends.protocol == REPLY
                && IpAddr::from(sight.ends.source) == target
                && sight.namespace == cookie
        });
        is_next(target) && !is_answered
    })?;
    let target = IpAddr::from(ask.ends.destination);
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
    let mend = match ends.iter().find_map(|end| leads(known, *end, target)) {
        Some(route) => case.ip(&replaced(route, &device.name)),
        None => case.ask(target, &device.name),
    };
    let found = Found::new(known, target.to_string(), sentence)
        .seen(format!("{} at {}", case.asking(), device.name), asked)
        .mend(known, mend);
    Some(Trouble { name: "neighbour-silent", stage: Stage::Neighbour, found })
}

/// The route to an address by a gateway.
fn leads(place: &Place, address: IpAddr, gateway: IpAddr) -> Option<&Route> {
    let by = |route: &&Route| route.hops.iter().any(|hop| hop.gateway == Some(gateway));
    let routes = place.routes.iter().filter(|route| route.destination.contains(&address));
    routes.filter(by).max_by_key(|route| route.destination.prefix_len())
}

/// What has a route lead to another gateway.
fn replaced(route: &Route, device: &str) -> String {
    let destination = if route.is_default() { "default".to_owned() } else { route.destination.to_string() };
    let table = if route.is_main() { String::new() } else { format!(" table {}", route.table) };
    let metric = if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
    format!("route replace {destination} via GATEWAY dev {device}{table}{metric}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_very_route_is_replaced() {
        let route = |destination: &str, table: u32, metric: u32| Route {
            table,
            destination: destination.parse().unwrap(),
            hops: Vec::new(),
            metric,
            refuses: false,
            kind: "unicast",
            source: None,
        };
        assert_eq!(replaced(&route("0.0.0.0/0", 254, 0), "qg"), "route replace default via GATEWAY dev qg");
        let other = replaced(&route("198.51.100.0/24", 7, 20), "qg");
        assert_eq!(other, "route replace 198.51.100.0/24 via GATEWAY dev qg table 7 metric 20");
    }
}
