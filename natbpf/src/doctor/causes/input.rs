//! Rules about the host itself: what instances ask it, and what it tells them.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    doctor::{Cause, Found, Inside, Severity, Site, Stage, way::drops_all},
    facts::{For, Hook, Packet, Place},
};

/// What a packet meets that is for the host itself.
const TAKEN: [Hook; 2] = [Hook::Prerouting, Hook::Input];

const DHCP: u16 = 67;
const DNS: u16 = 53;
const UDP: u8 = 17;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "icmp-errors-dropped",
        severity: Severity::Warning,
        stage: Stage::Return,
        title: "Rules of OUTPUT drop the router's own ICMP errors, so path MTU discovery fails",
        look: errors_dropped,
    },
    Cause {
        name: "dhcp-dropped",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "Rules of INPUT drop what instances ask the DHCP server of this host",
        look: dhcp_dropped,
    },
    Cause {
        name: "dns-dropped",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "Rules of INPUT drop what instances ask the name server of this host",
        look: dns_dropped,
    },
];

fn errors_dropped(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        // The state RELATED is not followed.
        if ["RELATED", "related"].into_iter().any(|state| place.firewall.lines(state).next().is_some()) {
            continue;
        }
        for inside in &router.insides {
            let device = &inside.device.name;
            let error = |established| Packet {
                from_host: true,
                established,
                ..Packet::forwarded("", device, inside.net.addr(), inside.example())
            };
            let Some(drop) = drops_all(place, &[Hook::Output], [true, false].map(error).into_iter()) else {
                continue;
            };
            let sentence = format!(
                "the router's own ICMP errors to {} are dropped{}, among them those that say which MTU fits: {}",
                inside.network(),
                place.within(),
                drop.text
            );
            let accept = drop.accepting("OUTPUT", &[For::Output(device), For::Icmp]);
            found.push(Found::of_rule(place, &drop, sentence).mend(place, accept));
        }
    }
    found
}

fn dhcp_dropped(site: &Site<'_>) -> Vec<Found> {
    // These read from packet sockets, where no rule is asked.
    let is_raw = |program: &str| matches!(program, "dhcpd" | "kea-dhcp4");
    if site.host.daemons.iter().any(|daemon| is_raw(&daemon.program)) {
        return Vec::new();
    }
    let ask = |inside: &Inside<'_>| Packet {
        protocol: UDP,
        source_port: 68,
        port: DHCP,
        to_host: true,
        ..Packet::forwarded(&inside.device.name, "", Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
    };
    let serves = |place: &Place, inside: &Inside<'_>| {
        let own = IpAddr::V4(inside.net.addr());
        let mut sockets = place.sockets.iter().flatten();
        sockets.any(|socket| socket.address.is_ipv4() && socket.takes(own, DHCP))
    };
    refused_services(site, "DHCP", DHCP, serves, ask)
}

fn dns_dropped(site: &Site<'_>) -> Vec<Found> {
    let ask = |inside: &Inside<'_>| Packet {
        protocol: UDP,
        source_port: 40_000,
        port: DNS,
        to_host: true,
        ..Packet::forwarded(&inside.device.name, "", inside.example(), inside.net.addr())
    };
    // One at all addresses may be there for the host alone.
    let serves = |place: &Place, inside: &Inside<'_>| {
        let own = IpAddr::V4(inside.net.addr());
        let mut sockets = place.sockets.iter().flatten();
        sockets.any(|socket| socket.address == own && socket.takes(own, DNS))
    };
    refused_services(site, "DNS", DNS, serves, ask)
}

/// Servers of the host that instances may not ask.
fn refused_services(
    site: &Site<'_>,
    service: &str,
    port: u16,
    serves: impl Fn(&Place, &Inside<'_>) -> bool,
    ask: impl Fn(&Inside<'_>) -> Packet,
) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let place = router.place;
        for inside in router.insides.iter().filter(|inside| serves(place, inside)) {
            let Some(drop) = place.firewall.drops(&TAKEN, &ask(inside)) else { continue };
            let device = &inside.device.name;
            let sentence = format!(
                "a {service} server waits at UDP port {port}{}, and what instances ask it by {device} is dropped by a \
                 rule of {}: {}",
                place.within(),
                drop.source.name(),
                drop.text
            );
            let accept = drop.accepting("INPUT", &[For::Input(device), For::Udp(port)]);
            found.push(Found::of_rule(place, &drop, sentence).mend(place, accept));
        }
    }
    found
}
