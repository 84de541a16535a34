//! Rules of iptables for what is bridged: br_netfilter.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    doctor::{
        Cause, Found, Inside, Router, Severity, Site, Stage,
        way::{drops_all, packets},
    },
    facts::{Device, For, Hook, Packet, Place, Verdict},
};

use super::filter::outward_drop;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "bridged-dropped",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "br_netfilter has iptables asked for bridged packets, and FORWARD drops them",
        look: bridged,
    },
    Cause {
        name: "port-dropped",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "Rules for a port of a bridge (physdev) drop all that its instance sends",
        look: port,
    },
];

const CALL: &str = "bridge/bridge-nf-call-iptables";
const HOOKS: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

fn asks_iptables(place: &Place) -> bool {
    place.settings.number(CALL) == Some(1)
}

fn bridged(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for place in site.host.places.iter().filter(|place| asks_iptables(place)) {
        for bridge in place.devices.iter().filter(|device| device.bridge.is_some()) {
            let Some(drop) = bridged_drop(site, place, bridge) else { continue };
            // The same rule drops what is routed: there it is met first.
            let routers = site.routers.iter().filter(|router| router.place.cookie == place.cookie);
            let mut outward = routers.flat_map(|router| {
                router.ways_out().filter_map(|(inside, uplink)| outward_drop(router, inside, &uplink))
            });
            if outward.any(|outward| outward == drop) {
                continue;
            }
            let name = &bridge.name;
            let sentence = format!(
                "packets from one port of {name} to another are dropped{} by a rule of {}: br_netfilter has it asked \
                 for what is bridged: {}",
                place.within(),
                drop.source.name(),
                drop.text
            );
            found.push(
                Found::new(place, name, sentence)
                    .seen(format!("/proc/sys/net/{CALL}"), 1)
                    .seen_rule(&drop)
                    .mend(place, drop.accepting("FORWARD", &[For::Input(name), For::Output(name)])),
            );
        }
    }
    found
}

/// What drops packets between ports. A rule that names the bridge is meant so.
fn bridged_drop(site: &Site<'_>, place: &Place, bridge: &Device) -> Option<Verdict> {
    let known = stations(site, place, bridge);
    let [source, destination] = *known.first_chunk()?;
    let packets = packets(&bridge.name, &bridge.name, source).map(|packet| Packet { destination, ..packet });
    let drop = drops_all(place, &HOOKS, packets)?;
    (!drop.text.split([' ', '"']).any(|word| word == bridge.name)).then_some(drop)
}

/// Addresses behind a bridge that are known: rules may be for some and not for others.
fn stations(site: &Site<'_>, place: &Place, bridge: &Device) -> Vec<Ipv4Addr> {
    let is_here = |router: &Router<'_>, device: &Device| {
        router.place.cookie == place.cookie && device.index == bridge.index
    };
    let instances = site.instances().filter(|(router, inside, ..)| is_here(router, inside.device));
    let own = instances.filter_map(|(_, inside, instance, device)| address(inside, instance, device));
    let heard = place.neighbours.iter().filter(|other| other.device == bridge.index && other.mac.is_some());
    let heard = heard.filter_map(|other| match other.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    own.chain(heard).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Its address in its network.
fn address(inside: &Inside<'_>, instance: &Place, device: &Device) -> Option<Ipv4Addr> {
    instance.addresses_of(device).find_map(|own| match own.net.addr() {
        IpAddr::V4(address) if inside.network().contains(&address) => Some(address),
        _ => None,
    })
}

fn port(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (_, inside, instance, device) in site.instances() {
        let Some((place, port)) = site.host.peer(instance, device) else { continue };
        let bridge =
            port.master.and_then(|master| place.device(master)).filter(|bridge| bridge.bridge.is_some());
        let Some(bridge) = bridge.filter(|_| asks_iptables(place)) else { continue };
        let Some(address) = address(inside, instance, device) else { continue };
        let drops = |packet| place.firewall.drops_from_port(&HOOKS, &packet, &port.name);
        let drops: Option<Vec<_>> = packets(&bridge.name, &bridge.name, address).map(drops).collect();
        let Some(drop) = drops.and_then(|drops| drops.into_iter().next()) else { continue };
        // It may be for all ports.
        if drops_all(place, &HOOKS, packets(&bridge.name, &bridge.name, address)).is_some() {
            continue;
        }
        let name = &port.name;
        let sentence = format!(
            "all that {} sends by the port {name} of {}{} is dropped by a rule of {}: {}",
            instance.name,
            bridge.name,
            place.within(),
            drop.source.name(),
            drop.text
        );
        found.push(
            Found::new(place, name, sentence)
                .seen(format!("/proc/sys/net/{CALL}"), 1)
                .seen_rule(&drop)
                .mend(place, drop.accepting("FORWARD", &[For::Port(name), For::From(address.into())])),
        );
    }
    found
}
