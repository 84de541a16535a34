//! The packet has not come as far as the router.

use std::net::IpAddr;

use natbpf_common::contract::follow::Point;

use super::{case::Case, dropped};
use crate::{
    doctor::{Found, Stage},
    facts::PortState,
    why::{
        link::{Trouble, between, of_device},
        subject::NextHop,
    },
};

/// The instance itself knows no way.
pub fn no_route(case: &Case<'_>) -> Trouble {
    let place = case.subject.instance.map_or_else(|| case.host.home(), |(place, _)| place);
    let destination = case.destination;
    let sentence =
        format!("the instance {} has no route to {destination}, so it sends nothing there", place.name);
    let network = case.host.places.iter().flat_map(|place| &place.addresses).find(|address| {
        address.net.contains(&case.subject.address) && address.net.addr() != case.subject.address
    });
    let gateway = network.map_or_else(|| "GATEWAY".to_owned(), |network| network.net.addr().to_string());
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
    let heard =
        case.trace.questions.iter().filter_map(|sight| host.at(sight.namespace)?.device(sight.device));
    let mut heard: Vec<_> = heard.map(|device| device.name.clone()).collect();
    heard.sort();
    heard.dedup();
    let owner = host.places.iter().find(|place| place.has(gateway));
    let sentence = match owner {
        Some(owner) => format!(
            "the instance asks who has {gateway}; the machine that has it{} does not answer",
            owner.within()
        ),
        None => {
            format!("the instance asks who has {gateway}, its gateway, and nobody answers: nobody has it")
        }
    };
    let instance = subject.instance.map_or(home, |(place, _)| place);
    let mut found = Found::new(instance, gateway.to_string(), sentence)
        .seen(case.asking(), asked)
        .seen("the request was heard at", heard.join(", "));
    let real =
        host.places.iter().filter(|place| place.forwards_for(gateway)).flat_map(|place| &place.addresses);
    let real = real
        .map(|address| address.net)
        .find(|net| net.contains(&subject.address) && net.addr() != gateway && owner.is_none());
    found = match (real, owner) {
        (Some(net), _) => found.mend(instance, case.ip(&format!("route replace default via {}", net.addr()))),
        (None, Some(owner)) => {
            let device = owner.addresses.iter().find(|address| address.net.addr() == gateway);
            let device = device.and_then(|address| owner.device(address.device));
            let name = device.map_or("DEVICE", |device| &device.name);
            // It answers nobody whom it would not send packets to by the same device.
            let is_its = |index: u32| device.is_some_and(|device| device.index == index);
            let back = owner.route_to(subject.address);
            match back.filter(|route| !route.hops.iter().any(|hop| is_its(hop.device))) {
                Some(route) => found
                    .seen(
                        owner.typed(&case.ip("route")),
                        format!("{} does not lead to {name}", route.destination),
                    )
                    .mend(owner, case.ip(&format!("route del {}", route.destination))),
                None => found.mend(
                    owner,
                    format!("tcpdump -eni {name} {}", if case.is_v6() { "icmp6" } else { "arp" }),
                ),
            }
        }
        (None, None) => found.mend(instance, case.ip("route replace default via GATEWAY")),
    };
    Trouble { name: "gateway-silent", stage: Stage::Neighbour, found }
}

/// Nothing of the instance was seen.
pub fn never_left(case: &Case<'_>) -> Trouble {
    let (edge, home) = (case.subject.edge, case.host.home());
    if let Some(trouble) = of_device((home, edge)).filter(|_| !is_blocked(case)) {
        return trouble;
    }
    let asked = case.trace.questions.iter().find(|sight| {
        let [from, to] = [sight.ends.source, sight.ends.destination].map(IpAddr::from);
        from == case.subject.address && case.next_hop == NextHop::Ask(to)
    });
    if asked.is_some() {
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

/// A blocked port receives, and only passes nothing on.
fn is_blocked(case: &Case<'_>) -> bool {
    let port = case.subject.edge.port.as_ref();
    port.is_some_and(|port| port.state != PortState::Forwarding)
}
