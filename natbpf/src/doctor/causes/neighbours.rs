//! Who answers for an address, and who does not.

use std::net::{IpAddr, Ipv4Addr};

use super::crossing::colons;
use crate::{
    doctor::{Cause, End, Found, Severity, Site, Stage, distinct, name},
    facts::{Neighbour, NeighbourState, Place},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "arp-off",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "A device neither asks nor answers by ARP",
        look: arp_off,
    },
    Cause {
        name: "neighbour-wrong-mac",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "Somebody has noted another link layer address for a neighbour than it has",
        look: wrong_mac,
    },
    Cause {
        name: "gateway-unanswered",
        severity: Severity::Error,
        stage: Stage::Neighbour,
        title: "An instance and its router have asked for each other by ARP, and neither was answered",
        look: unanswered,
    },
    Cause {
        name: "uplink-gateway-unanswered",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "Nobody answers by ARP for the gateway of the router's default route",
        look: uplink_unanswered,
    },
];

/// What a namespace knows of an address at a device.
fn entry((place, device): End<'_>, address: Ipv4Addr) -> Option<&Neighbour> {
    let mut own = place.neighbours.iter().filter(|neighbour| neighbour.device == device.index);
    own.find(|neighbour| neighbour.address == IpAddr::V4(address))
}

fn arp_off(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().flat_map(|attached| {
        let ends = [(attached.place, attached.device), attached.end()];
        let silent = ends.into_iter().filter(|(_, device)| device.up && device.is_ethernet() && !device.arp);
        silent.map(|(place, device)| {
            let sentence = format!(
                "{} does not take part in ARP, so {} and {} do not find each other",
                name((place, device)),
                attached.who(),
                attached.gateway.addr()
            );
            Found::new(place, &device.name, sentence)
                .seen(format!("ip link show dev {}", device.name), "NOARP")
                .mend(place, format!("ip link set {} arp on", device.name))
        })
    }))
}

fn wrong_mac(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().filter(|attached| !attached.steps.is_empty()).flat_map(|attached| {
        let (own, router) = ((attached.place, attached.device), attached.end());
        let sides = [(router, own, attached.net.addr()), (own, router, attached.gateway.addr())];
        sides.into_iter().filter_map(|(at, of, address)| wrong(at, of, address))
    }))
}

/// Frames to another device of the same namespace arrive there, too.
fn wrong(at: End<'_>, of: End<'_>, address: Ipv4Addr) -> Option<Found> {
    let noted = entry(at, address).filter(|noted| noted.state == NeighbourState::Permanent)?;
    let (noted, own) = (noted.mac?, of.1.mac?);
    if of.0.devices.iter().any(|device| device.mac == Some(noted)) {
        return None;
    }
    let (noted, own, (place, device)) = (colons(noted), colons(own), at);
    let sentence = format!(
        "what {} sends to {address} goes to {noted}, as somebody has noted there, and {} has {own}",
        name(at),
        name(of)
    );
    Some(
        Found::new(place, address.to_string(), sentence)
            .seen(
                format!("ip neighbour show dev {}", device.name),
                format!("{address} lladdr {noted} PERMANENT"),
            )
            .mend(place, format!("ip neighbour del {address} dev {}", device.name)),
    )
}

/// One side alone may have asked before the other one was there.
fn unanswered(site: &Site<'_>) -> Vec<Found> {
    let found = site.attached.iter().filter(|attached| attached.passes()).filter_map(|attached| {
        let own = (attached.place, attached.device);
        let (gateway, address) = (attached.gateway.addr(), attached.net.addr());
        let failed = |at, address| entry(at, address).is_some_and(Neighbour::is_failed);
        if !failed(own, gateway)
            || !failed(attached.end(), address)
            || !attached.device.arp
            || !attached.inside.arp
        {
            return None;
        }
        let sentence = format!(
            "{} has asked for its gateway {gateway}, that has asked for it, and neither was answered, \
             though all devices between them are up: a rule of arptables or nftables, or a setting such \
             as arp_ignore, keeps them from it",
            attached.who()
        );
        let shown = |at: End<'_>| format!("ip neighbour show dev {}", at.1.name);
        Some(
            Found::new(attached.place, gateway.to_string(), sentence)
                .seen(shown(own), format!("{gateway} FAILED"))
                .seen(shown(attached.end()), format!("{address} FAILED"))
                .mend(attached.place, "nft list ruleset")
                .mend(attached.router, "nft list ruleset"),
        )
    });
    distinct(found)
}

fn uplink_unanswered(site: &Site<'_>) -> Vec<Found> {
    let found = site.routers.iter().filter_map(|router| {
        let uplink = router.uplinks.first()?;
        let (gateway, end) = (uplink.gateway?, (router.place, uplink.device));
        let failed = uplink.device.up && uplink.device.carrier && entry(end, gateway)?.is_failed();
        // Where it is seen to be there, only the answer is old.
        if !failed || is_seen(site, router.place, gateway) {
            return None;
        }
        let sentence = format!(
            "packets leave by {} to the gateway {gateway}, and nobody answers by ARP for that: it is \
             down, not there, or has another address",
            name(end)
        );
        Some(
            Found::new(router.place, gateway.to_string(), sentence)
                .seen(format!("ip neighbour show dev {}", uplink.device.name), format!("{gateway} FAILED"))
                .mend(
                    router.place,
                    format!("ip route replace default via GATEWAY dev {}", uplink.device.name),
                ),
        )
    });
    found.collect()
}

fn is_seen(site: &Site<'_>, router: &Place, address: Ipv4Addr) -> bool {
    let others = site.host.places.iter().filter(|place| place.cookie != router.cookie);
    others.into_iter().any(|place| place.has(IpAddr::V4(address)))
}
