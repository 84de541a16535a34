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
    facts::{Device, For, Hook, Packet, Place, PortState, Verdict},
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

/// All bridges ask, or this one does.
fn asks_iptables(place: &Place, bridge: &Device) -> bool {
    let own = bridge.bridge.as_ref().is_some_and(|bridge| bridge.calls_iptables);
    own || place.settings.number(CALL) == Some(1)
}

/// Where that is set, with the value.
fn asked_by(place: &Place, bridge: &Device) -> (String, String) {
    match place.settings.number(CALL) {
        Some(1) => (format!("/proc/sys/net/{CALL}"), "1".to_owned()),
        _ => (format!("ip -d link show dev {}", bridge.name), "nf_call_iptables 1".to_owned()),
    }
}

fn bridged(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for place in &site.host.places {
        let asking = |device: &&Device| device.bridge.is_some() && asks_iptables(place, device);
        for bridge in place.devices.iter().filter(asking) {
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
            let (set, value) = asked_by(place, bridge);
            found.push(
                Found::new(place, name, sentence)
                    .seen(set, value)
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
    let (first, source) = *known.first()?;
    // What is behind one port is not bridged.
    let (_, destination) = *known.iter().find(|(port, _)| *port != first)?;
    let packets = packets(&bridge.name, &bridge.name, source).map(|packet| Packet { destination, ..packet });
    let drop = drops_all(place, &HOOKS, packets)?;
    (!drop.text.split([' ', '"']).any(|word| word == bridge.name)).then_some(drop)
}

/// Addresses that are known behind a bridge, in their order, with the index of the port that each is at: rules may be
/// for some and not for others.
fn stations(site: &Site<'_>, place: &Place, bridge: &Device) -> Vec<(u32, Ipv4Addr)> {
    let is_here = |router: &Router<'_>, device: &Device| {
        router.place.cookie == place.cookie && device.index == bridge.index
    };
    let instances = site.instances().filter(|(router, inside, ..)| is_here(router, inside.device));
    let own = instances
        .filter_map(|(_, inside, instance, device)| Some((address(inside, instance, device)?, device.mac?)));
    let heard = place.neighbours.iter().filter(|other| other.device == bridge.index);
    let heard = heard.filter_map(|other| match other.address {
        IpAddr::V4(address) => Some((address, other.mac?)),
        IpAddr::V6(_) => None,
    });
    let passes = |port: &&Device| {
        let state = port.port.as_ref().map(|port| port.state);
        port.up && port.carrier && state == Some(PortState::Forwarding)
    };
    let ports: BTreeSet<_> = place.ports(bridge).filter(passes).map(|port| port.index).collect();
    let known: BTreeSet<_> = own.chain(heard).collect();
    let at = |mac: [u8; 6]| {
        let mut stations = place.stations.iter().filter(|station| station.mac == mac && !station.permanent);
        stations.find(|station| ports.contains(&station.port)).map(|station| station.port)
    };
    known.into_iter().filter_map(|(address, mac)| Some((at(mac)?, address))).collect()
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
        let Some(bridge) = bridge.filter(|bridge| asks_iptables(place, bridge)) else { continue };
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
            instance.called("the instance"),
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
