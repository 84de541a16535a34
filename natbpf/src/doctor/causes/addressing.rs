//! Addresses that two have, or that are at the wrong device.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::crossing::colons;
use crate::{
    doctor::{Attached, Cause, Found, Severity, Site, Stage, distinct, is_port_of, key, name},
    facts::{Device, Place},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "duplicate-address",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "Two instances of a network have the same address",
        look: same_address,
    },
    Cause {
        name: "instance-has-gateway-address",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "An instance has the address of its router",
        look: address_of_router,
    },
    Cause {
        name: "duplicate-mac",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "Two devices of a network have the same link layer address",
        look: same_mac,
    },
    Cause {
        name: "address-on-port",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The router's address is on a port of a bridge instead of the bridge",
        look: on_port,
    },
    Cause {
        name: "uplink-is-port",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The address that leads out is on a port of a bridge instead of the bridge",
        look: uplink_on_port,
    },
];

/// Pairs of instances of a network, of different namespaces, both of which reach their router by what is up.
fn pairs<'a>(site: &'a Site<'a>) -> Vec<(&'a Attached<'a>, &'a Attached<'a>)> {
    let working: Vec<_> = site.attached.iter().filter(|attached| attached.passes()).collect();
    let mut pairs = Vec::new();
    for (turn, one) in working.iter().enumerate() {
        for other in &working[turn + 1..] {
            if key(one.end()) == key(other.end()) && one.place.cookie != other.place.cookie {
                pairs.push((*one, *other));
            }
        }
    }
    pairs
}

fn same_address(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (one, other) in pairs(site) {
        let (first, second) = ((one.place, one.device), (other.place, other.device));
        let Some(both) = shared(one, other) else { continue };
        let address = both.addr();
        let sentence = format!(
            "{} and {} both have {address}: what is for one goes to whichever has answered last",
            name(first),
            name(second)
        );
        found.push(
            Found::new(other.place, address.to_string(), sentence)
                .seen(shown(first), address)
                .seen(shown(second), both)
                .mend(other.place, format!("ip address del {both} dev {}", other.device.name)),
        );
    }
    distinct(found)
}

/// An address of their network that both have, as the second one has it. One that is no network's may be a service's.
fn shared(one: &Attached<'_>, other: &Attached<'_>) -> Option<IpNet> {
    let nets = |attached: &Attached<'_>| {
        attached.place.addresses_of(attached.device).map(|own| own.net).collect::<Vec<_>>()
    };
    let is_of_net = |net: &IpNet| net.prefix_len() < 32 && IpNet::V4(one.gateway).contains(&net.addr());
    let ours = nets(one);
    let mut theirs = nets(other).into_iter().filter(is_of_net);
    theirs.find(|net| ours.iter().filter(|own| is_of_net(own)).any(|own| own.addr() == net.addr()))
}

/// The command that shows addresses of a device.
pub fn shown((place, device): (&Place, &Device)) -> String {
    format!("ip address show dev {}{}", device.name, place.within())
}

/// Another router may have it in turn, as with VRRP.
fn address_of_router(site: &Site<'_>) -> Vec<Found> {
    let instances = site.attached.iter().filter(|attached| attached.passes() && !attached.place.forwards());
    distinct(instances.filter_map(|attached| {
        let (place, device, gateway) = (attached.place, attached.device, attached.gateway.addr());
        let own = place.addresses_of(device).find(|own| own.net.addr() == IpAddr::V4(gateway))?;
        let sentence = format!(
            "{} has {gateway}, the address of its router {}: others send to it what is for that",
            name((place, device)),
            name(attached.end())
        );
        Some(
            Found::new(place, gateway.to_string(), sentence)
                .seen(shown((place, device)), own.net)
                .mend(place, format!("ip address del {} dev {}", own.net, device.name)),
        )
    }))
}

fn same_mac(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut add = |one: (&Place, &Device), other: (&Place, &Device)| {
        let Some(mac) = one.1.mac.filter(|mac| other.1.mac == Some(*mac)).map(colons) else { return };
        let sentence = format!(
            "{} and {} both have the link layer address {mac}: bridges send what is for one to \
             whichever has spoken last",
            name(one),
            name(other)
        );
        found.push(
            Found::new(other.0, &mac, sentence)
                .seen(format!("ip link show dev {}{}", one.1.name, one.0.within()), &mac)
                .seen(format!("ip link show dev {}{}", other.1.name, other.0.within()), &mac)
                .mend(other.0, format!("ip link set {} address {}", other.1.name, fresh(other))),
        );
    };
    for (one, other) in pairs(site) {
        add((one.place, one.device), (other.place, other.device));
    }
    for attached in site.attached.iter().filter(|attached| attached.passes()) {
        add(attached.end(), (attached.place, attached.device));
    }
    distinct(found)
}

/// A link layer address that is nobody's, locally administered, from what tells the device from others.
fn fresh(end: (&Place, &Device)) -> String {
    let [.., a, b] = end.0.cookie.to_be_bytes();
    let [c, d] = [end.1.index >> 8, end.1.index].map(|part| part.to_le_bytes()[0]);
    colons([0x02, 0x6e, a, b, c, d])
}

/// The bridge whose port a device is.
fn bridge_over<'a>(place: &'a Place, device: &'a Device) -> Option<&'a Device> {
    let bridge = place.device(device.master?)?;
    is_port_of((place, device), (place, bridge)).then_some(bridge)
}

/// What moves the addresses of a port to its bridge. Who is connected by one of them gets no farther than the first of
/// these commands, if they are typed one by one.
fn moved(place: &Place, port: &Device, bridge: &Device) -> Vec<String> {
    let nets = place.addresses_of(port).filter(|own| own.net.addr().is_ipv4());
    let moves = nets.flat_map(|own| {
        [
            format!("ip address del {} dev {}", own.net, port.name),
            format!("ip address add {} dev {}", own.net, bridge.name),
        ]
    });
    moves.collect()
}

fn on_port(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().filter_map(|attached| {
        let (place, port) = attached.end();
        let bridge = bridge_over(place, port)?;
        let sentence = format!(
            "the gateway {} is an address of {}, a port of {}: answers by ARP arrive at the bridge, and \
             are not heard",
            attached.gateway.addr(),
            name((place, port)),
            bridge.name
        );
        let found = Found::new(place, &port.name, sentence).seen(
            format!("ip address show dev {}", port.name),
            format!("{}, master {}", attached.gateway, bridge.name),
        );
        Some(found.mend_all(place, &moved(place, port, bridge)))
    }))
}

fn uplink_on_port(site: &Site<'_>) -> Vec<Found> {
    let found = site.routers.iter().filter_map(|router| {
        let (place, port) = (router.place, router.uplinks.first()?.device);
        let bridge = bridge_over(place, port)?;
        let sentence = format!(
            "{} leads out, and is a port of {}: answers by ARP arrive at the bridge, and are not heard",
            name((place, port)),
            bridge.name
        );
        let nets: Vec<_> = place.addresses_of(port).map(|own| own.net.to_string()).collect();
        let found = Found::new(place, &port.name, sentence).seen(
            format!("ip address show dev {}", port.name),
            format!("{}, master {}", nets.join(", "), bridge.name),
        );
        let route = format!("ip route replace default via {}", gateway(router.uplinks[0].gateway));
        Some(found.mend_all(place, &[moved(place, port, bridge), vec![route]].concat()))
    });
    found.collect()
}

fn gateway(address: Option<Ipv4Addr>) -> String {
    address.map_or_else(|| "GATEWAY".to_owned(), |address| address.to_string())
}
