//! The kernel has dropped the packet where it looked for a route.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Sight};

use super::case::{Case, MendAt as _, device, seen};
use crate::{
    doctor::{Found, Stage},
    facts::Place,
    why::link::Trouble,
};

pub fn reverse_path(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let name = device(drop);
    let source = IpAddr::from(drop.ends.source);
    let sentence = format!(
        "rp_filter of {name}{} drops it: the route back to {source} does not lead there",
        place.within()
    );
    let settings = case.known(drop.namespace).map(|place| &place.settings);
    let value = settings.and_then(|settings| settings.larger(&name, "rp_filter"));
    let mut found = Found::new(&place, &name, sentence);
    if let Some(value) = value {
        found = found.seen(format!("net.ipv4.conf.{name}.rp_filter"), value);
    }
    found = found.mend_at(&place, format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2"));
    Trouble { name: "rp-filter", stage: Stage::Return, found: seen(case, drop, found) }
}

/// There is no way on: forwarding is off, or no route leads there.
pub fn route(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let (name, within) = (device(drop), place.within());
    let destination = IpAddr::from(drop.ends.destination);
    let known = case.known(drop.namespace);
    if let Some(off) = known.filter(|_| case.is_v6()).and_then(|known| off_for_ipv6(known, &name)) {
        return Trouble { found: seen(case, drop, off.found), ..off };
    }
    let is_off = |known: &Place| known.settings.of(&name, "forwarding") == Some(0);
    if known.is_some_and(is_off) && !case.is_v6() {
        let all = known.is_some_and(|known| !known.forwards());
        let (object, mend) = if all {
            ("net.ipv4.ip_forward".to_owned(), "sysctl -w net.ipv4.ip_forward=1".to_owned())
        } else {
            (name.clone(), format!("sysctl -w net/ipv4/conf/{name}/forwarding=1"))
        };
        let sentence = format!("the kernel{within} does not pass on what comes by {name}: forwarding is off");
        let found = Found::new(&place, object, sentence)
            .seen(format!("net.ipv4.conf.{name}.forwarding"), 0)
            .mend_at(&place, mend);
        return Trouble { name: "forwarding-off", stage: Stage::Forwarding, found: seen(case, drop, found) };
    }
    let refusing = known.and_then(|known| known.route_to(destination)).filter(|route| route.refuses);
    let (sentence, mend) = match refusing {
        Some(route) => (
            format!("the route {}{within} refuses packets to {destination}", route.destination),
            case.ip(&format!("route del {}", route.destination)),
        ),
        None => (
            format!("there is no route to {destination}{within}"),
            if drop.part == Part::Reply as u32 {
                case.ip(&format!("route add {destination} via GATEWAY"))
            } else {
                case.ip("route add default via GATEWAY")
            },
        ),
    };
    let mut found = Found::new(&place, destination.to_string(), sentence).mend_at(&place, mend);
    if known.is_some() {
        found = found.seen(place.typed(&case.ip("route get")), format!("{destination}: no way"));
    }
    Trouble { name: "no-route", stage: Stage::Routing, found: seen(case, drop, found) }
}

/// Of one device it cannot be off, but on where it is off for all.
fn off_for_ipv6(known: &Place, name: &str) -> Option<Trouble> {
    const ALL: &str = "net.ipv6.conf.all.forwarding";
    let forced = known.settings.number(&format!("ipv6/conf/{name}/force_forwarding")) == Some(1);
    if forced || known.settings.number("ipv6/conf/all/forwarding") != Some(0) {
        return None;
    }
    let sentence = format!("the kernel{} passes no packets of IPv6 on: forwarding is off", known.within());
    let found = Found::new(known, ALL, sentence).seen(ALL, 0).mend(known, format!("sysctl -w {ALL}=1"));
    Some(Trouble { name: "forwarding-off-ipv6", stage: Stage::Forwarding, found })
}
