//! Who answers ARP for the addresses of a router, and for those that it translates.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage, Uplink, distinct, way::OUTSIDE},
    facts::{Daemon, Lookup, Packet, Place, Query},
};

use super::translation::forwards;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "arp-ignored",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "The router answers no ARP on the device of a network (`arp_ignore` is 8)",
        look: ignored,
    },
    Cause {
        name: "arp-filtered",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "The router answers ARP of an instance by another device alone (`arp_filter`)",
        look: filtered,
    },
    Cause {
        name: "snat-foreign-address",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "SNAT is to an address that this host does not have, so nobody answers ARP for it",
        look: |site| foreign(site, sources, false),
    },
    Cause {
        name: "dnat-unanswered",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "DNAT is for an address that this host does not have, so nobody answers ARP for it",
        look: |site| foreign(site, destinations, false),
    },
    Cause {
        name: "translated-address-elsewhere",
        severity: Severity::Note,
        stage: Stage::Return,
        title: "SNAT or DNAT is for an address that another host has now, as keepalived and its like move it",
        look: |site| [foreign(site, sources, true), foreign(site, destinations, true)].concat(),
    },
    Cause {
        name: "dnat-to-nobody",
        severity: Severity::Note,
        stage: Stage::Return,
        title: "DNAT leads to an address that no instance answers for",
        look: to_nobody,
    },
];

/// 8: for no address at all (`ip-sysctl.rst`).
const NONE: u64 = 8;

fn ignored(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let (place, settings) = (router.place, &router.place.settings);
        for inside in &router.insides {
            let device = &inside.device.name;
            if settings.larger(device, "arp_ignore") != Some(NONE) {
                continue;
            }
            let owner = if settings.of(device, "arp_ignore") == Some(NONE) { device } else { "all" };
            let sentence = format!(
                "instances in {} do not find their gateway {}: the kernel{} answers no ARP on {device}",
                inside.network(),
                inside.net.addr(),
                place.within()
            );
            found.push(
                Found::new(place, device, sentence)
                    .seen(format!("/proc/sys/net/ipv4/conf/{owner}/arp_ignore"), NONE)
                    .mend(place, format!("sysctl -w net/ipv4/conf/{owner}/arp_ignore=0")),
            );
        }
    }
    found
}

/// The kernel answers where its own packets to who asks, from the address that is asked for, would leave (`arp_filter`
/// of net/ipv4/arp.c).
fn filtered(site: &Site<'_>) -> Vec<Found> {
    const NAME: &str = "arp_filter";
    let mut found = Vec::new();
    for attached in &site.attached {
        let (place, device) = (attached.router, attached.inside);
        let (asked, asks) = (attached.gateway.addr(), attached.net.addr());
        if place.settings.larger(&device.name, NAME) != Some(1) {
            continue;
        }
        let Lookup::Leads(rule, route) =
            place.lookup(Query { input: "lo", source: asked, destination: asks })
        else {
            continue;
        };
        let outputs = route.hops.iter().filter_map(|hop| place.device(hop.device));
        let outputs: Vec<_> = outputs.map(|output| &*output.name).collect();
        if outputs.is_empty() || outputs.contains(&&*device.name) {
            continue;
        }
        let owner = if place.settings.of(&device.name, NAME) == Some(1) { &device.name } else { "all" };
        let led = outputs.join(", ");
        let sentence = format!(
            "{} does not find its gateway {asked}: the kernel{} answers ARP there by {led} alone, where its \
             packets from {asked} to {asks} leave, and not by {}",
            attached.who(),
            place.within(),
            device.name
        );
        found.push(
            Found::new(place, &device.name, sentence)
                .seen(format!("/proc/sys/net/ipv4/conf/{owner}/{NAME}"), 1)
                .seen(format!("ip route get {asks} from {asked}"), format!("{route} dev {led}, by `{rule}`"))
                .mend(place, format!("sysctl -w net/ipv4/conf/{owner}/{NAME}=0")),
        );
    }
    distinct(found)
}

/// Whether nobody answers ARP for an address though it is in the network of a device.
fn is_unanswered(place: &Place, uplink: &Uplink<'_>, address: Ipv4Addr) -> bool {
    let (device, address) = (uplink.device, IpAddr::V4(address));
    let here = place.addresses_of(device).any(|own| own.net.contains(&address));
    let own = place.locals.iter().any(|local| local.contains(&address));
    // One that somebody else has, such as the other router of a pair, is answered for.
    let elsewhere = place.neighbours.iter().any(|other| other.address == address && other.mac.is_some());
    let set = |name| place.settings.larger(&device.name, name) == Some(1);
    // A proxy answers only for what is not behind the device that asks (`arp_process`).
    let behind = place
        .route_to(address)
        .is_some_and(|route| !route.is_default() && route.hops.iter().all(|hop| hop.device != device.index));
    let proxied = set("proxy_arp") || place.proxied.iter().any(|proxied| proxied.address == address);
    let answered = own || elsewhere || (behind && proxied) || set("proxy_arp_pvlan");
    here && !answered
}

/// Those of a namespace where a program moves addresses between hosts, or those of all others.
fn foreign(
    site: &Site<'_>,
    found: for<'a> fn(&Site<'a>) -> Vec<(&'a Place, Found)>,
    moved: bool,
) -> Vec<Found> {
    let moves = |place: &Place| {
        let mut daemons = site.host.daemons.iter().filter(|daemon| daemon.namespace == place.inode);
        daemons.any(Daemon::moves_addresses)
    };
    let found = found(site).into_iter().filter(|(place, _)| moves(place) == moved);
    distinct(found.map(|(_, found)| found))
}

/// Gives an address to a device, unless somebody has it who was not heard of yet.
fn taken(found: Found, place: &Place, address: Ipv4Addr, out: &str) -> Found {
    let asks = format!("arping -D -c 2 -I {out} {address}");
    found.mend_all(place, &[asks, format!("ip address add {address}/32 dev {out}")])
}

fn sources<'a>(site: &Site<'a>) -> Vec<(&'a Place, Found)> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        for (inside, uplink) in router.ways_out() {
            let (place, out) = (router.place, &uplink.device.name);
            let packet = Packet::forwarded(&inside.device.name, out, inside.example(), OUTSIDE[0]);
            let Some((rule, address)) = place.firewall.sender(&packet) else { continue };
            if !is_unanswered(place, &uplink, address) {
                continue;
            }
            let sentence = format!(
                "packets of {} leave by {out} as {address}, and nobody answers ARP for it{}: no answer comes back",
                inside.network(),
                place.within()
            );
            let source = Found::new(place, address.to_string(), sentence)
                .seen_rule(&rule)
                .seen(format!("ip address show {out}"), format!("no {address}"));
            found.push((place, taken(source, place, address, out)));
        }
    }
    found
}

fn destinations<'a>(site: &Site<'a>) -> Vec<(&'a Place, Found)> {
    let mut found = Vec::new();
    for (router, rule, forward) in forwards(site) {
        let (Some(address), place) = (forward.destination, router.place) else { continue };
        let Some(uplink) = router.uplinks.iter().find(|uplink| is_unanswered(place, uplink, address)) else {
            continue;
        };
        let out = &uplink.device.name;
        let sentence = format!(
            "nobody answers ARP for {address} on {out}{}, so the outside does not reach {} by it",
            place.within(),
            forward.to
        );
        let destination = Found::new(place, address.to_string(), sentence)
            .seen_rule(&rule)
            .seen(format!("ip address show {out}"), format!("no {address}"));
        found.push((place, taken(destination, place, address, out)));
    }
    found
}

fn to_nobody(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (router, rule, forward) in forwards(site) {
        let (place, address) = (router.place, IpAddr::V4(forward.to));
        let failed = place.neighbours.iter().find(|other| other.address == address && other.is_failed());
        let Some(device) = failed.and_then(|failed| place.device(failed.device)) else { continue };
        if !router.insides.iter().any(|inside| inside.device.index == device.index) {
            continue;
        }
        let sentence = format!(
            "a rule leads packets to {address}{}, and nobody answers for it on {}: {}",
            place.within(),
            device.name,
            rule.text
        );
        found.push(
            Found::new(place, address.to_string(), sentence)
                .seen(format!("ip neighbour show {address}"), "FAILED")
                .mend(place, rule.deleted("nat")),
        );
    }
    found
}
