//! Whether the outside can answer.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::twice::next;
use crate::{
    doctor::{
        Cause, Found, Inside, Router, Severity, Site, Stage, Uplink,
        way::{OUTSIDE, packets},
    },
    facts::{Forward, Host, Lookup, Miss, Packet, Place, Query, Translation, Verdict, Wanted},
};

/// Addresses between a carrier and its customers (RFC 6598).
const CARRIER: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "not-translated",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "A private network is routed to the outside, and nothing translates its addresses",
        look: untranslated,
    },
    Cause {
        name: "untranslated-behind-private",
        severity: Severity::Note,
        stage: Stage::Translation,
        title: "A private network is routed to a private one, and nothing translates its addresses here",
        look: routed,
    },
    Cause {
        name: "masquerade-wrong-device",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "The rule that masquerades a network is for another device than the one it leaves by",
        look: wrong_device,
    },
    Cause {
        name: "masquerade-wrong-source",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "The rule that masquerades at the uplink is for a network that is not here",
        look: wrong_source,
    },
    Cause {
        name: "masquerade-wrong-destination",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "The rule that masquerades a network is for some destinations alone",
        look: wrong_destination,
    },
    Cause {
        name: "masquerade-exempt",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "A rule before the one that masquerades a network exempts it",
        look: exempt,
    },
    Cause {
        name: "dnat-to-loopback",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "DNAT leads to 127.0.0.0/8, and `route_localnet` is off",
        look: to_loopback,
    },
];

/// A network whose packets leave as they are, though nobody outside knows the way back.
struct Leak<'b, 'a> {
    router: &'b Router<'a>,
    inside: &'b Inside<'a>,
    uplink: Uplink<'a>,
    why: Why,
}

enum Why {
    /// A rule before the one that translates.
    Exempt(Verdict),
    /// The rule that would translate, were something else.
    Miss(Verdict, Wanted),
    NoRule,
    /// None, too, and who is next may know the way back.
    Routed,
}

fn leaks<'b, 'a>(site: &'b Site<'a>) -> impl Iterator<Item = Leak<'b, 'a>> {
    let seen = |router: &&Router<'_>| router.place.forwards() && router.place.firewall.is_complete();
    site.routers.iter().filter(seen).flat_map(move |router| {
        router.ways_by_kernel(site.host).filter_map(move |(inside, uplink)| {
            let why = why_untranslated(site.host, router, inside, &uplink)?;
            Some(Leak { router, inside, uplink, why })
        })
    })
}

/// `None`: its packets are translated, or may be, or need not be.
fn why_untranslated(
    host: &Host,
    router: &Router<'_>,
    inside: &Inside<'_>,
    uplink: &Uplink<'_>,
) -> Option<Why> {
    let (place, firewall, source) = (router.place, &router.place.firewall, inside.example());
    let packets = || packets(&inside.device.name, &uplink.device.name, source);
    let all_leave = packets().all(|packet| firewall.translation(&packet).0 != Translation::May);
    let packet = Packet::forwarded(&inside.device.name, &uplink.device.name, source, OUTSIDE[0]);
    if !inside.net.addr().is_private() || !all_leave || firewall.untracks(&packet).is_some() {
        return None;
    }
    let known = knows_way_back(host, place, uplink, source);
    if known == Some(true) {
        return None;
    }
    if let (Translation::Exempt(_), Some(rule)) = firewall.translation(&packet) {
        return Some(Why::Exempt(rule));
    }
    let miss = firewall.misses(&packet).into_iter().find(|(_, miss)| is_meant(place, miss));
    let nobody = if known == Some(false) || is_in_public(place, uplink) { Why::NoRule } else { Why::Routed };
    Some(miss.map_or(nobody, |(rule, miss)| Why::Miss(rule, miss.wanted)))
}

/// Whether the next router leads answers here; `None`: it is not seen, or not understood.
fn knows_way_back(host: &Host, place: &Place, uplink: &Uplink<'_>, instance: Ipv4Addr) -> Option<bool> {
    let (there, device) = next(host, place, uplink)?;
    let onward = Query { input: &device.name, source: instance, destination: OUTSIDE[0] };
    let input = match there.lookup(onward) {
        Lookup::Leads(_, route) => &there.device(route.hops.first()?.device)?.name,
        _ => "lo",
    };
    match there.lookup(Query { input, source: OUTSIDE[0], destination: instance }) {
        Lookup::Leads(_, route) => {
            Some(route.hops.iter().filter_map(|hop| hop.gateway).any(|gateway| place.has(gateway)))
        }
        Lookup::Refused(..) | Lookup::Nowhere => Some(false),
        Lookup::Unknown(_) => None,
    }
}

/// Whether the uplink has an address that is known everywhere: who is next to a private one may know other private
/// networks, and translate them.
fn is_in_public(place: &Place, uplink: &Uplink<'_>) -> bool {
    place.addresses_of(uplink.device).any(|own| match own.net.addr() {
        IpAddr::V4(address) => {
            !address.is_private() && !address.is_link_local() && !CARRIER.contains(&address)
        }
        IpAddr::V6(_) => false,
    })
}

/// Whether the rule may be meant for the packet: one for another network of this host is not.
fn is_meant(place: &Place, miss: &Miss) -> bool {
    match &miss.wanted {
        Wanted::Source(network) => !place.addresses.iter().any(|own| match own.net.addr() {
            IpAddr::V4(address) => network.contains(&address),
            IpAddr::V6(_) => false,
        }),
        Wanted::Output(_) | Wanted::Destination(_) => true,
    }
}

impl Leak<'_, '_> {
    fn found(&self, object: String, why: impl AsRef<str>, evidence: &str) -> Found {
        let (network, out, place) = (self.inside.network(), &self.uplink.device.name, self.router.place);
        let sentence = format!(
            "packets of {network} leave by {out}{} with their private addresses, and no answer finds back: {}",
            place.within(),
            why.as_ref()
        );
        Found::new(place, object, sentence).seen("rules of POSTROUTING", evidence)
    }

    fn masqueraded(&self, found: Found, command: &str) -> Found {
        let (network, out) = (self.inside.network(), &self.uplink.device.name);
        let rule = format!("iptables -t nat -{command} POSTROUTING -s {network} -o {out} -j MASQUERADE");
        found.mend(self.router.place, rule)
    }
}

/// Nothing is known to be wrong there.
fn routed(site: &Site<'_>) -> Vec<Found> {
    let leaks = leaks(site).filter(|leak| matches!(leak.why, Why::Routed));
    let found = leaks.map(|leak| {
        let (network, out, place) = (leak.inside.network(), &leak.uplink.device.name, leak.router.place);
        let sentence = format!(
            "packets of {network} leave by {out}{} with their private addresses: the next router has to lead answers \
             back here, and to translate them if they go farther",
            place.within()
        );
        let evidence = format!("none matches {} to {out}", leak.inside.example());
        let note = Found::new(place, network.to_string(), sentence).seen("rules of POSTROUTING", evidence);
        leak.masqueraded(note, "A")
    });
    found.collect()
}

fn untranslated(site: &Site<'_>) -> Vec<Found> {
    let leaks = leaks(site).filter(|leak| matches!(leak.why, Why::NoRule));
    let found = leaks.map(|leak| {
        let (network, out) = (leak.inside.network(), &leak.uplink.device.name);
        let evidence = format!("none matches {} to {out}", leak.inside.example());
        leak.masqueraded(leak.found(network.to_string(), "no rule masquerades them", &evidence), "A")
    });
    found.collect()
}

/// Those that a rule misses, with what there is to say of it.
fn missed(site: &Site<'_>, why: fn(&Wanted) -> Option<String>) -> Vec<Found> {
    let found = leaks(site).filter_map(|leak| {
        let Why::Miss(rule, wanted) = &leak.why else { return None };
        let why = format!("{}: {}", why(wanted)?, rule.text);
        Some(leak.masqueraded(leak.found(rule.text.clone(), why, &rule.text), "A"))
    });
    found.collect()
}

fn wrong_device(site: &Site<'_>) -> Vec<Found> {
    missed(site, |wanted| match wanted {
        Wanted::Output(device) => Some(format!("the rule that masquerades them is for {device}")),
        _ => None,
    })
}

fn wrong_source(site: &Site<'_>) -> Vec<Found> {
    missed(site, |wanted| match wanted {
        Wanted::Source(network) => {
            Some(format!("the rule that masquerades there is for {network}, which is not here"))
        }
        _ => None,
    })
}

fn wrong_destination(site: &Site<'_>) -> Vec<Found> {
    missed(site, |wanted| match wanted {
        Wanted::Destination(network) => {
            Some(format!("the rule that masquerades them is for what goes to {network}"))
        }
        _ => None,
    })
}

fn exempt(site: &Site<'_>) -> Vec<Found> {
    let found = leaks(site).filter_map(|leak| {
        let Why::Exempt(rule) = &leak.why else { return None };
        let why = format!("a rule before the one that masquerades them exempts them: {}", rule.text);
        Some(leak.masqueraded(leak.found(rule.text.clone(), why, &rule.text), "I"))
    });
    found.collect()
}

/// Rules of DNAT of a router that passes packets on.
pub fn forwards<'b, 'a>(site: &'b Site<'a>) -> impl Iterator<Item = (&'b Router<'a>, Verdict, Forward)> {
    let routers = site.routers.iter().filter(|router| router.place.forwards());
    routers.flat_map(|router| {
        let forwards = router.place.firewall.forwards();
        forwards.into_iter().map(move |(rule, forward)| (router, rule, forward))
    })
}

fn to_loopback(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (router, rule, forward) in forwards(site).filter(|(.., forward)| forward.to.is_loopback()) {
        let place = router.place;
        let uplink = router.uplinks.first().map(|uplink| &uplink.device.name);
        let Some(device) = forward.input.as_ref().or(uplink) else { continue };
        if place.settings.larger(device, "route_localnet") != Some(0) {
            continue;
        }
        let sentence = format!(
            "what a rule leads to {} is dropped when it comes by {device}{}: route_localnet is off: {}",
            forward.to,
            place.within(),
            rule.text
        );
        found.push(
            Found::of_rule(place, &rule, sentence)
                .seen(format!("/proc/sys/net/ipv4/conf/{device}/route_localnet"), 0)
                .mend(place, format!("sysctl -w net/ipv4/conf/{device}/route_localnet=1")),
        );
    }
    found
}

/// Packets of a network, and the first answer to each at the device where they leave.
pub fn both_ways(place: &Place, inside: &Inside<'_>, uplink: &Uplink<'_>) -> Option<[Packet; 2]> {
    let (device, out) = (&inside.device.name, &uplink.device.name);
    let own = place.addresses_of(uplink.device).find_map(|own| match own.net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })?;
    let to_host = Packet { to_host: true, established: true, ..Packet::forwarded(out, "", OUTSIDE[0], own) };
    Some([Packet::forwarded(device, out, inside.example(), OUTSIDE[0]), to_host])
}
