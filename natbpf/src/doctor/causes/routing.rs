//! Whether there is a way.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    doctor::{Cause, Found, Inside, Router, Severity, Site, Stage},
    facts::{Hop, Lookup, Place, Route},
};

use super::links::down_uplink;

/// In sentences.
const INSTANCE: &str = "the instance";

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "no-default-route",
        severity: Severity::Error,
        stage: Stage::Routing,
        title: "The router of a network has no default route",
        look: |site| no_default(site, false),
    },
    Cause {
        name: "some-routes-alone",
        severity: Severity::Note,
        stage: Stage::Routing,
        title: "The router of a network has routes to some networks, or for IPv6, and no default route for IPv4",
        look: |site| no_default(site, true),
    },
    Cause {
        name: "instance-no-default-route",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance has no default route",
        look: instance_without_default,
    },
    Cause {
        name: "default-route-refuses",
        severity: Severity::Error,
        stage: Stage::Routing,
        title: "The default route that counts is a blackhole, or says unreachable or prohibit",
        look: default_refuses,
    },
    Cause {
        name: "route-back-refuses",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "A route of blackhole, unreachable or prohibit takes the answers to an instance",
        look: back_refused,
    },
    Cause {
        name: "route-back-elsewhere",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "The route to an instance leads to another device than the one it is behind",
        look: back_elsewhere,
    },
];

/// Whether a host is meant to reach some networks alone, or others by IPv6, or nobody has given it a way out.
fn leads_elsewhere(router: &Router<'_>) -> bool {
    let is_inside = |index| router.insides.iter().any(|inside| inside.device.index == index);
    router.place.routes.iter().filter(|route| !route.refuses).any(|route| {
        let gateway = |hop: &Hop| hop.gateway.is_some() && !is_inside(hop.device);
        route.destination.addr().is_ipv6() && route.is_default() || route.hops.iter().any(gateway)
    })
}

fn no_default(site: &Site<'_>, elsewhere: bool) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| {
        // A network that is meant to lead nowhere has no router that passes packets on.
        let is_inside = |index| router.insides.iter().any(|inside| inside.device.index == index);
        // A device that is down has taken its routes with it.
        let taken = || down_uplink(router.place, is_inside).is_some();
        router.uplinks.is_empty() && router.place.forwards() && refusing_default(router).is_none() && !taken()
    });
    let routers = routers.filter(|router| leads_elsewhere(router) == elsewhere);
    routers
        .map(|router| {
            let networks: Vec<_> = router.insides.iter().map(|inside| inside.network().to_string()).collect();
            let sentence = format!(
                "packets of {} are not led out: there is no default route{}",
                networks.join(", "),
                router.place.within()
            );
            Found::new(router.place, "default", sentence)
                .seen("ip route show table all", "no route for 0.0.0.0/0")
                .mend(router.place, "ip route add default via GATEWAY")
        })
        .collect()
}

fn instance_without_default(site: &Site<'_>) -> Vec<Found> {
    let instances = site.instances().filter(|(.., place, device)| device.up && place.defaults().is_empty());
    instances
        .map(|(_, inside, place, device)| {
            let sentence = format!(
                "{} has no default route, so it reaches its own network {} alone",
                place.called(INSTANCE),
                inside.network()
            );
            Found::new(place, &device.name, sentence)
                .seen("ip route show table all", "no route for 0.0.0.0/0")
                .mend(place, format!("ip route add default via {}", inside.net.addr()))
        })
        .collect()
}

/// A default route that refuses what one of the networks sends.
fn refusing_default<'a>(router: &Router<'a>) -> Option<&'a Route> {
    router.insides.iter().find_map(|inside| match router.outward(inside) {
        Lookup::Refused(_, Some(route)) if route.is_default() && route.is_main() => Some(route),
        _ => None,
    })
}

fn default_refuses(site: &Site<'_>) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| router.place.forwards());
    let refusing = routers.filter_map(|router| Some((router.place, refusing_default(router)?)));
    refusing
        .map(|(place, route)| {
            let sentence = format!(
                "what instances send to the outside is refused by a route{}: {route}",
                place.within()
            );
            Found::new(place, route.to_string(), sentence)
                .seen("ip route show", format!("{route} metric {}", route.metric))
                .mend(place, format!("ip route del {route} metric {}", route.metric))
        })
        .collect()
}

/// Addresses of instances with the way that an answer takes to each.
fn homeward<'a>(router: &Router<'a>) -> Vec<(&'a Place, Ipv4Addr, &'a str, Lookup<'a>)> {
    let mut ways = Vec::new();
    for (inside, uplink) in router.ways_out() {
        for (place, address) in instances(inside) {
            ways.push((place, address, &*inside.device.name, router.homeward(uplink.device, address)));
        }
    }
    ways
}

/// Addresses of instances in their network.
fn instances<'a>(inside: &Inside<'a>) -> Vec<(&'a Place, Ipv4Addr)> {
    let network = inside.network();
    let addresses = inside.instances.iter().flat_map(|(place, device)| {
        place.addresses_of(device).filter_map(|address| match address.net.addr() {
            IpAddr::V4(address) if network.contains(&address) => Some((*place, address)),
            _ => None,
        })
    });
    addresses.collect()
}

/// A route may take the answers to several instances.
fn once_each(mut found: Vec<Found>) -> Vec<Found> {
    let mut objects = BTreeSet::new();
    found.retain(|found| objects.insert((found.place.clone(), found.object.clone())));
    found
}

fn back_refused(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for (instance, address, _, way) in homeward(router) {
            let Lookup::Refused(_, Some(route)) = way else { continue };
            let sentence = format!(
                "answers to {address} of {} go no further{}: the route {route} takes them",
                instance.called(INSTANCE),
                router.place.within()
            );
            found.push(
                Found::new(router.place, route.to_string(), sentence)
                    .seen(format!("ip route get {address}"), route)
                    .mend(router.place, format!("ip route del {route} table {}", route.table)),
            );
        }
    }
    once_each(found)
}

fn back_elsewhere(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let place = router.place;
        for (instance, address, behind, way) in homeward(router) {
            let Lookup::Leads(_, route) = way else { continue };
            let devices = route.hops.iter().filter_map(|hop| place.device(hop.device));
            let devices: Vec<_> = devices.map(|device| &*device.name).collect();
            if devices.is_empty() || devices.contains(&behind) || route.is_default() {
                continue;
            }
            let led = devices.join(", ");
            let sentence = format!(
                "answers to {address} of {} are led to {led}{}, and it is behind {behind}",
                instance.called(INSTANCE),
                place.within()
            );
            found.push(
                Found::new(place, route.to_string(), sentence)
                    .seen(format!("ip route get {address}"), format!("{route} dev {led}"))
                    .mend(place, format!("ip route del {route} dev {led} table {}", route.table)),
            );
        }
    }
    once_each(found)
}
