//! Networks that instances, their routers and the outside do not agree about.

use std::net::IpAddr;

use ipnet::IpNet;

use super::addressing::shown;
use crate::{
    doctor::{Cause, Found, Segment, Severity, Site, Stage, default_gateway, distinct, name},
    facts::Place,
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "gateway-of-nobody",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "The default route of an instance leads to an address that nobody in its network has",
        look: nobody,
    },
    Cause {
        name: "instance-mask-wider",
        severity: Severity::Warning,
        stage: Stage::Instance,
        title: "An instance takes a larger network for its own than its router does",
        look: wider,
    },
    Cause {
        name: "networks-overlap",
        severity: Severity::Warning,
        stage: Stage::Routing,
        title: "A network of instances and the one outside have addresses in common",
        look: overlap,
    },
];

/// Only where everybody who could have it was seen.
fn nobody(site: &Site<'_>) -> Vec<Found> {
    let is_router = |place: &Place| site.routers.iter().any(|router| router.place.cookie == place.cookie);
    let others = site.host.places.iter().filter(|place| !is_router(place));
    let found = others.filter_map(|place| {
        let (device, net, gateway) = default_gateway(place)?;
        // The kernel answers for every address of a namespace, on whatever device it is.
        if site.host.places.iter().any(|place| place.has(IpAddr::V4(gateway))) {
            return None;
        }
        let known = place.neighbours.iter().any(|neighbour| {
            neighbour.address == IpAddr::V4(gateway) && neighbour.mac.is_some() && !neighbour.is_failed()
        });
        let segment = Segment::of(site.host, (place, device), |_| true);
        if known || !device.is("veth") || !segment.is_closed(site.host) {
            return None;
        }
        let mut router = None;
        for (there, member) in segment.members() {
            let proxies =
                ["all", &member.name].iter().any(|of| there.settings.of(of, "proxy_arp") != Some(0));
            if there.cookie != place.cookie && proxies {
                return None;
            }
            let own = || there.addresses_of(member).map(|own| own.net.addr());
            if there.cookie != place.cookie && there.forwards() {
                router = router.or_else(|| own().find(|own| IpNet::V4(net).contains(own)));
            }
        }
        let router = router?;
        let sentence = format!(
            "the default route of {} leads to {gateway}, an address that nobody in its network has: its \
             router there is {router}",
            name((place, device))
        );
        Some(
            Found::new(place, gateway.to_string(), sentence)
                .seen("ip route show default", format!("via {gateway} dev {}", device.name))
                .mend(place, format!("ip route replace default via {router}")),
        )
    });
    found.collect()
}

fn wider(site: &Site<'_>) -> Vec<Found> {
    let found = site.attached.iter().filter_map(|attached| {
        let (net, own) = (attached.net, attached.gateway);
        let proxies = ["all", &attached.inside.name]
            .iter()
            .any(|of| attached.router.settings.of(of, "proxy_arp") != Some(0));
        let contains = net.trunc().contains(&own.trunc()) && net.prefix_len() < own.prefix_len();
        // A route of its own may lead to the rest.
        let is_used = attached.place.routes.iter().any(|route| {
            let direct =
                route.hops.iter().any(|hop| hop.device == attached.device.index && hop.gateway.is_none());
            direct && route.destination == IpNet::V4(net.trunc())
        });
        if !contains || proxies || !is_used {
            return None;
        }
        let (place, device) = (attached.place, attached.device);
        let right = format!("{}/{}", net.addr(), own.prefix_len());
        let sentence = format!(
            "{} takes all of {} for its own network, and its router {} has {} alone there: it does not \
             reach the rest",
            name((place, device)),
            net.trunc(),
            name(attached.end()),
            own.trunc()
        );
        Some(
            Found::new(place, &device.name, sentence)
                .seen(shown((place, device)), net)
                .seen(shown(attached.end()), own)
                .mend_all(
                    place,
                    &[
                        format!("ip address add {right} dev {}", device.name),
                        format!("ip address del {net} dev {}", device.name),
                        format!("ip route replace default via {}", own.addr()),
                    ],
                ),
        )
    });
    distinct(found)
}

/// A router that answers for addresses of one network in the other, by proxy ARP, has divided it on purpose.
fn overlap(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let place = router.place;
        let Some(uplink) = router.uplinks.first() else { continue };
        let name_out = &uplink.device.name;
        if ["all", name_out].iter().any(|of| place.settings.of(of, "proxy_arp") != Some(0)) {
            continue;
        }
        for inside in router.insides.iter().filter(|inside| inside.device.index != uplink.device.index) {
            let network = IpNet::V4(inside.network());
            let overlaps = |net: IpNet| {
                net.prefix_len() < 31 && (net.contains(&network) || network.contains(&net.trunc()))
            };
            let mut nets = place.addresses_of(uplink.device).map(|own| own.net);
            let Some(outer) = nets.find(|net| overlaps(*net)) else { continue };
            let sentence = format!(
                "the network {network} of instances at {} and {} at {name_out}{} have addresses in \
                 common: who has one of these on one side is not reached from the other",
                inside.device.name,
                outer.trunc(),
                place.within()
            );
            found.push(
                Found::new(place, network.to_string(), sentence)
                    .seen(format!("ip address show dev {}", inside.device.name), inside.net)
                    .seen(format!("ip address show dev {name_out}"), outer)
                    .mend_all(
                        place,
                        &[
                            format!("ip address add ADDRESS/LENGTH dev {}", inside.device.name),
                            format!("ip address del {} dev {}", inside.net, inside.device.name),
                        ],
                    ),
            );
        }
    }
    found
}
