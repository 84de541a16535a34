//! The packet has not come as far as the router.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Point, REPLY, REQUEST, Sight};

use super::{case::Case, dropped};
use crate::{
    doctor::{Found, Stage},
    facts::{Place, PortState},
    why::{
        link::{Trouble, between, of_device},
        networks::{owner, routers},
        subject::NextHop,
    },
};

/// The kernel asks again after a second; what is seen of one question takes less.
const AGAIN: u64 = 500_000_000;

/// The instance itself knows no way.
pub fn no_route(case: &Case<'_>) -> Trouble {
    let place = instance(case);
    let destination = case.destination;
    let sentence =
        format!("the instance {} has no route to {destination}, so it sends nothing there", place.name);
    let gateway = suggested(case);
    let object = case.subject.instance.map_or("default", |(_, device)| &device.name);
    let found = Found::new(place, object, sentence)
        .seen(place.typed(&case.ip("route")), format!("nothing leads to {destination}"))
        .mend(place, case.ip(&format!("route add default via {gateway}")));
    Trouble { name: "instance-no-route", stage: Stage::Instance, found }
}

/// Nobody has said the hardware address of the gateway.
pub fn no_gateway(case: &Case<'_>) -> Trouble {
    let (host, subject) = (case.host, case.subject);
    let home = host.home();
    let NextHop::Ask(gateway) = case.next_hop else { return never_left(case) };
    let asked = format!("{gateway} was asked for at {}", subject.edge.name);
    if let Some(mut trouble) = between(host, (home, subject.edge), gateway) {
        trouble.found = trouble.found.seen(case.asking(), format!("{asked}, and nobody answered"));
        return trouble;
    }
    // Of a broadcast, other copies are dropped by whomever they are not for: those reasons say nothing.
    let told = case.trace.questions.iter().rev().find(|sight| {
        let reason = case.names.reason(sight.reason);
        sight.point == Point::Dropped as u32
            && (reason.starts_with("QDISC_") || matches!(reason, "XDP" | "TC_INGRESS" | "TC_EGRESS"))
    });
    if let Some(drop) = told {
        return dropped::explain(case, drop);
    }
    let requests =
        case.trace.questions.iter().filter(|sight| {
            sight.ends.protocol == REQUEST && IpAddr::from(sight.ends.destination) == gateway
        });
    let heard = requests.filter_map(|sight| host.at(sight.namespace)?.device(sight.device));
    let mut heard: Vec<_> = heard.map(|device| device.name.clone()).collect();
    heard.sort();
    heard.dedup();
    let owner = owner(host, subject.edge, gateway);
    let mut found = match owner {
        Some(owner) => silent_owner(case, gateway, owner),
        None if gateway == case.destination => nobody(case, gateway),
        None => wrong_gateway(case, gateway),
    };
    found = found.seen(case.asking(), asked).seen("the request was heard at", heard.join(", "));
    // The destination itself was asked for.
    let name = if gateway == case.destination { "neighbour-silent" } else { "gateway-silent" };
    Trouble { name, stage: Stage::Neighbour, found }
}

/// Somebody has the address that is asked for, and does not answer.
fn silent_owner(case: &Case<'_>, target: IpAddr, owner: &Place) -> Found {
    let subject = case.subject;
    let sentence = format!(
        "the instance asks who has {target}; the machine that has it{} does not answer",
        owner.within()
    );
    let found = Found::new(instance(case), target.to_string(), sentence);
    let device = owner.addresses.iter().find(|address| address.net.addr() == target);
    let device = device.and_then(|address| owner.device(address.device));
    let name = device.map_or("DEVICE", |device| &device.name);
    // It answers nobody whom it would not send packets to by the same device.
    let is_its = |index: u32| device.is_some_and(|device| device.index == index);
    let back = owner.route_to(subject.address);
    match back.filter(|route| !route.hops.iter().any(|hop| is_its(hop.device))) {
        Some(route) => {
            let evidence = format!("{} does not lead to {name}", route.destination);
            found
                .seen(owner.typed(&case.ip("route")), evidence)
                .mend(owner, case.ip(&format!("route del {}", route.destination)))
        }
        None => {
            found.mend(owner, format!("tcpdump -eni {name} {}", if case.is_v6() { "icmp6" } else { "arp" }))
        }
    }
}

/// The destination is on the instance's own network, and is not there.
fn nobody(case: &Case<'_>, target: IpAddr) -> Found {
    let sentence = format!(
        "the instance asks who has {target}, which is on its own network, and nobody answers: nobody there has it, or \
         that machine is off"
    );
    let found = Found::new(instance(case), target.to_string(), sentence);
    match case.subject.instance {
        Some((place, device)) => found.mend(place, case.ask(target, &device.name)),
        None => found,
    }
}

/// The route of the instance leads to somebody who is not there.
fn wrong_gateway(case: &Case<'_>, gateway: IpAddr) -> Found {
    let sentence =
        format!("the instance asks who has {gateway}, its gateway, and nobody answers: nobody has it");
    let mend = case.ip(&format!("route replace default via {}", suggested(case)));
    match case.subject.instance {
        Some((place, _)) => Found::new(place, gateway.to_string(), sentence).mend(place, mend),
        None => Found::new(instance(case), gateway.to_string(), format!("{sentence}; in the guest: {mend}")),
    }
}

/// The namespace of the instance; that of its device on the host, where its own is not seen.
fn instance<'a>(case: &Case<'a>) -> &'a Place {
    case.subject.instance.map_or_else(|| case.host.home(), |(place, _)| place)
}

/// Who is on the network of the instance, and passes packets on.
fn suggested(case: &Case<'_>) -> String {
    let routers = routers(case.host, case.subject.edge, case.subject.address);
    routers.first().map_or_else(|| "GATEWAY".to_owned(), IpAddr::to_string)
}

/// Nothing of the instance was seen.
pub fn never_left(case: &Case<'_>) -> Trouble {
    let (edge, home) = (case.subject.edge, case.host.home());
    if let Some(trouble) = of_device((home, edge)).filter(|_| !is_blocked(case)) {
        return trouble;
    }
    if let NextHop::Ask(gateway) = case.next_hop
        && asks_in_vain(&case.trace.questions, case.subject.address, gateway)
    {
        return no_gateway(case);
    }
    let sentence = format!(
        "no packet of {} to {} came by {}: it never left the instance",
        case.subject.address, case.destination, edge.name
    );
    let found = Found::new(home, &edge.name, sentence)
        .seen(format!("received by {}", edge.name), format!("{} packets ever", edge.counters.rx_packets))
        .mend(home, format!("natbpf why --from {} {} --send", edge.name, case.destination));
    Trouble { name: "never-left", stage: Stage::Instance, found }
}

/// Whether somebody has asked for a neighbour again, and was never answered: an answer to the first question may be on
/// its way.
fn asks_in_vain(questions: &[Sight], asking: IpAddr, target: IpAddr) -> bool {
    let said = |operation: u32, from: IpAddr| {
        questions
            .iter()
            .filter(move |sight| sight.ends.protocol == operation && IpAddr::from(sight.ends.source) == from)
    };
    let times = said(REQUEST, asking)
        .filter(|sight| IpAddr::from(sight.ends.destination) == target)
        .map(|sight| sight.time);
    let (first, last) = (times.clone().min(), times.max());
    let asks_again = first.zip(last).is_some_and(|(first, last)| last - first >= AGAIN);
    asks_again && said(REPLY, target).next().is_none()
}

/// A blocked port receives, and only passes nothing on.
fn is_blocked(case: &Case<'_>) -> bool {
    let port = case.subject.edge.port.as_ref();
    port.is_some_and(|port| port.state != PortState::Forwarding)
}

#[cfg(test)]
mod tests {
    use natbpf_common::contract::follow::Ends;

    use super::*;

    const ASKING: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn said(seconds: u64, operation: u32, source: IpAddr, destination: IpAddr) -> Sight {
        let (source, destination) = (source.into(), destination.into());
        let ends = Ends { source, destination, protocol: operation, ..Ends::default() };
        Sight { time: seconds * 1_000_000_000, ends, ..Sight::default() }
    }

    #[test]
    fn a_question_that_is_answered_was_not_in_vain() {
        let asked = |seconds| said(seconds, REQUEST, ASKING, TARGET);
        let in_vain = |questions: &[Sight]| asks_in_vain(questions, ASKING, TARGET);
        assert!(in_vain(&[asked(1), asked(2)]));
        // It is too early to tell.
        assert!(!in_vain(&[asked(1)]));
        assert!(!in_vain(&[asked(1), asked(2), said(2, REPLY, TARGET, ASKING)]));
        // The instance answers somebody else.
        assert!(!in_vain(&[said(1, REPLY, ASKING, TARGET), said(2, REPLY, ASKING, TARGET)]));
    }
}
