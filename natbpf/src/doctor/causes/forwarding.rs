//! Whether the kernel passes packets on.

use std::net::{IpAddr, Ipv4Addr};

use super::translation::forwards;
use crate::{
    doctor::{Cause, Found, Inside, Router, Severity, Site, Stage, distinct, way::OUTSIDE},
    facts::{Device, Lookup, Packet, Place, Query, Route, Verdict},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "forwarding-off",
        severity: Severity::Error,
        stage: Stage::Forwarding,
        title: "The kernel passes no packets on (`net.ipv4.ip_forward`)",
        look: off,
    },
    Cause {
        name: "forwarding-off-device",
        severity: Severity::Error,
        stage: Stage::Forwarding,
        title: "The kernel passes no packets on that come by one device (`net.ipv4.conf.DEVICE.forwarding`)",
        look: off_by_device,
    },
    Cause {
        name: "rp-filter-strict",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "Packets come by another device than the way back leads to, and `rp_filter` is strict",
        look: reverse_path,
    },
    Cause {
        name: "ttl-too-small",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance sends packets that the first router may not pass on (`net.ipv4.ip_default_ttl`)",
        look: ttl,
    },
    Cause {
        name: "forwarding-off-ipv6",
        severity: Severity::Error,
        stage: Stage::Forwarding,
        title: "Instances have a default route of IPv6, and the kernel passes no packets of IPv6 on",
        look: off_ipv6,
    },
    Cause {
        name: "no-default-route-ipv6",
        severity: Severity::Note,
        stage: Stage::Routing,
        title: "Instances have a default route of IPv6, and their router has none",
        look: no_default_ipv6,
    },
    Cause {
        name: "ping-ignored",
        severity: Severity::Note,
        stage: Stage::Neighbour,
        title: "The router answers no ping (`net.ipv4.icmp_echo_ignore_all`)",
        look: ping,
    },
];

fn off(site: &Site<'_>) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| {
        let settings = &router.place.settings;
        // All devices may be on while this says off, as after a change of one after the other.
        settings.number("ipv4/ip_forward") == Some(0)
            && router.insides.iter().any(|inside| settings.of(&inside.device.name, "forwarding") == Some(0))
    });
    routers
        .map(|router| {
            let networks: Vec<_> = router.insides.iter().map(|inside| inside.network().to_string()).collect();
            let sentence = format!(
                "the kernel{} drops what it should pass on: forwarding is off, and instances in {} have to go \
                 through it",
                router.place.within(),
                networks.join(", ")
            );
            Found::new(router.place, "net.ipv4.ip_forward", sentence)
                .seen("/proc/sys/net/ipv4/ip_forward", 0)
                .mend(router.place, "sysctl -w net.ipv4.ip_forward=1")
        })
        .collect()
}

fn off_by_device(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let (place, settings) = (router.place, &router.place.settings);
        let insides = router.insides.iter().map(|inside| inside.device);
        for device in insides.chain(router.uplinks.iter().map(|uplink| uplink.device)) {
            if settings.of(&device.name, "forwarding") == Some(0) {
                let name = &device.name;
                let path = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
                let sentence = format!("the kernel{} does not pass on what comes by {name}", place.within());
                let mend = format!("sysctl -w net/ipv4/conf/{name}/forwarding=1");
                found.push(Found::new(place, name, sentence).seen(path, 0).mend(place, mend));
            }
        }
    }
    found
}

/// Who is asked for by a packet that comes by a device, and the rule that has it come there.
struct Comes<'b, 'a> {
    router: &'b Router<'a>,
    inside: &'b Inside<'a>,
    instance: Ipv4Addr,
    device: &'a Device,
    rule: Verdict,
}

/// Packets from anywhere: answers to an address that a rule sends from by another device than it is on, and what DNAT
/// is for. Without a default route there, none of them comes by a device.
fn comes<'b, 'a>(site: &'b Site<'a>) -> Vec<Comes<'b, 'a>> {
    let mut comes = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        for (inside, uplink) in router.ways_out() {
            let packet =
                Packet::forwarded(&inside.device.name, &uplink.device.name, inside.example(), OUTSIDE[0]);
            let Some((rule, address)) = place.firewall.sender(&packet) else { continue };
            if let Some(device) = place.owner(address) {
                comes.push(Comes { router, inside, instance: inside.example(), device, rule });
            }
        }
    }
    for (router, rule, forward) in forwards(site) {
        let place = router.place;
        let named = || place.named(forward.input.as_ref()?);
        let device = forward.destination.and_then(|address| place.owner(address)).or_else(named);
        let inside = router.insides.iter().find(|inside| inside.network().contains(&forward.to));
        // Who else may come is known of none that asks for a source.
        let from_anywhere = !rule.text.contains(" -s ") && !rule.text.contains("saddr");
        if let (Some(device), Some(inside), true) = (device, inside, from_anywhere) {
            comes.push(Comes { router, inside, instance: forward.to, device, rule });
        }
    }
    comes.retain(|one| one.router.uplinks.iter().any(|uplink| uplink.device.index == one.device.index));
    comes
}

/// Strict is 1, loose 2 (RFC 3704); the larger of the device's and that of all counts. What counts as the way back is
/// the way of what the instance sends there (`fib_validate_source`), by any of its hops.
fn reverse_path(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for Comes { router, inside, instance, device, rule } in comes(site) {
        let (place, settings, name) = (router.place, &router.place.settings, &device.name);
        if settings.larger(name, "rp_filter") != Some(1) {
            continue;
        }
        let query = Query { input: &inside.device.name, source: instance, destination: OUTSIDE[0] };
        let Lookup::Leads(_, route) = place.lookup(query) else { continue };
        let back: Vec<_> = route.hops.iter().filter_map(|hop| place.device(hop.device)).collect();
        if back.is_empty() || back.iter().any(|hop| hop.index == device.index) {
            continue;
        }
        let back: Vec<_> = back.iter().map(|hop| &*hop.name).collect();
        let sentence = format!(
            "what comes from the outside by {name}{} for {instance} is dropped: the way back leads to {}, and \
             rp_filter is strict",
            place.within(),
            back.join(", ")
        );
        let setting = |of: &str| settings.of(of, "rp_filter").unwrap_or_default();
        found.push(
            Found::new(place, name, sentence)
                .seen_rule(&rule)
                .seen("net.ipv4.conf.all.rp_filter", setting("all"))
                .seen(format!("net.ipv4.conf.{name}.rp_filter"), setting(name))
                .mend(place, format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2")),
        );
    }
    distinct(found)
}

fn ttl(site: &Site<'_>) -> Vec<Found> {
    const NAME: &str = "net.ipv4.ip_default_ttl";
    let short = |place: &Place| place.settings.number("ipv4/ip_default_ttl").filter(|ttl| *ttl < 2);
    let found = site.instances().filter_map(|(router, _, place, _)| {
        let ttl = short(place)?;
        let sentence = format!(
            "what {} sends ends at its router{}: its packets begin with a TTL of {ttl}",
            place.called("the instance"),
            router.place.within()
        );
        let found = Found::new(place, NAME, sentence).seen("/proc/sys/net/ipv4/ip_default_ttl", ttl);
        Some(found.mend(place, format!("sysctl -w {NAME}=64")))
    });
    found.collect()
}

fn is_default_ipv6(route: &Route) -> bool {
    route.is_default() && route.destination.addr().is_ipv6() && !route.refuses
}

/// The first instance of each router whose default route of IPv6 leads there.
fn led_by_ipv6<'b, 'a>(
    site: &'b Site<'a>,
) -> impl Iterator<Item = (&'b Router<'a>, &'b Inside<'a>, &'a Place, IpAddr)> {
    site.routers.iter().filter_map(|router| {
        let mut instances = router
            .insides
            .iter()
            .flat_map(|inside| inside.instances.iter().map(move |(place, _)| (inside, *place)));
        instances.find_map(|(inside, place)| {
            let defaults = place.routes.iter().filter(|route| is_default_ipv6(route));
            let mut gateways = defaults.flat_map(|route| &route.hops).filter_map(|hop| hop.gateway);
            let own = |gateway: &IpAddr| {
                router.place.addresses_of(inside.device).any(|own| own.net.addr() == *gateway)
            };
            Some((router, inside, place, gateways.find(own)?))
        })
    })
}

fn off_ipv6(site: &Site<'_>) -> Vec<Found> {
    const NAME: &str = "net.ipv6.conf.all.forwarding";
    let off = led_by_ipv6(site).filter(|(router, inside, ..)| {
        let number = |path: &str| router.place.settings.number(path);
        let forced = number(&format!("ipv6/conf/{}/force_forwarding", inside.device.name)) == Some(1);
        number("ipv6/conf/all/forwarding") == Some(0) && !forced
    });
    off.map(|(router, _, instance, gateway)| {
        let sentence = format!(
            "packets of IPv6 are not passed on{}, and the default route of {} leads there, to {gateway}",
            router.place.within(),
            instance.called("the instance")
        );
        Found::new(router.place, NAME, sentence)
            .seen("/proc/sys/net/ipv6/conf/all/forwarding", 0)
            .mend(router.place, format!("sysctl -w {NAME}=1"))
    })
    .collect()
}

fn no_default_ipv6(site: &Site<'_>) -> Vec<Found> {
    let without = led_by_ipv6(site).filter(|(router, ..)| !router.place.routes.iter().any(is_default_ipv6));
    without
        .map(|(router, _, instance, gateway)| {
            // Routes of router advertisements go when forwarding is switched on, but where `accept_ra` is 2.
            let advertised = router.uplinks.first().map(|uplink| {
                let path = format!("ipv6/conf/{}/accept_ra", uplink.device.name);
                (router.place.settings.number(&path).unwrap_or_default(), &uplink.device.name)
            });
            let sentence = format!(
                "{} has {gateway} as its default gateway of IPv6, which has no default route of IPv6 itself{}",
                instance.called("the instance"),
                router.place.within()
            );
            let mut found = Found::new(router.place, "::/0", sentence)
                .seen("ip -6 route show table all", "no route for ::/0");
            if let Some((accepts, out)) = advertised.filter(|(accepts, _)| *accepts == 1) {
                found = found
                    .seen(format!("/proc/sys/net/ipv6/conf/{out}/accept_ra"), accepts)
                    .mend(router.place, format!("sysctl -w net/ipv6/conf/{out}/accept_ra=2"));
            }
            found.mend(router.place, "ip -6 route add default via GATEWAY")
        })
        .collect()
}

fn ping(site: &Site<'_>) -> Vec<Found> {
    const NAME: &str = "net.ipv4.icmp_echo_ignore_all";
    let ignoring = site.routers.iter().map(|router| router.place);
    let ignoring = ignoring.filter(|place| place.settings.number("ipv4/icmp_echo_ignore_all") == Some(1));
    ignoring
        .map(|place| {
            let sentence =
                format!("the router{} answers no ping, so that one to it shows nothing", place.within());
            Found::new(place, NAME, sentence)
                .seen("/proc/sys/net/ipv4/icmp_echo_ignore_all", 1)
                .mend(place, format!("sysctl -w {NAME}=0"))
        })
        .collect()
}
