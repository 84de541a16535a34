//! A packet is longer than the way takes.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Point, Sight};

use super::{
    case::{Case, MendAt as _, device, seen},
    dropped,
};
use crate::{
    doctor::{Found, Stage},
    facts::{Device, Place},
    why::{link::Trouble, trace::Trace},
};

/// The first device on the way of a packet that takes less; of an ICMP error, the one of its sender.
pub fn narrow<'a>(case: &Case<'a>, sight: &Sight, length: u32) -> Option<(&'a Place, &'a Device)> {
    let hops = if sight.part == Part::Reply as u32 { &case.trace.back } else { &case.trace.there };
    let passed = hops.iter().filter_map(|hop| {
        let place = case.known(hop.place)?;
        Some((place, place.device(hop.device)?))
    });
    let place = case.known(sight.namespace);
    let here = place.and_then(|place| Some((place, place.device(sight.device)?)));
    let end = here.and_then(|(place, device)| case.host.peer(place, device));
    let target = if sight.mtu == 0 { sight.ends.destination.into() } else { case.destination };
    let next =
        place.and_then(|place| Some((place, place.device(place.route_to(target)?.hops.first()?.device)?)));
    let is_it = |(place, device): &(&Place, &Device)| {
        let says = sight.mtu == 0 || place.cookie == sight.namespace && device.mtu == sight.mtu;
        device.mtu < length && says
    };
    let is_made_here = sight.mtu == 0 || sight.point != Point::Received as u32;
    passed.chain(here).chain(end).chain(next).filter(|_| is_made_here).find(is_it)
}

/// A packet was dropped for its length.
pub fn dropped(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let Trouble { name, stage, found } = match narrow(case, drop, drop.length) {
        Some(narrow) => takes_less(case, narrow, drop.length, "and nobody is told"),
        None => {
            let (length, name) = (drop.length, device(drop));
            let sentence = format!("a packet of {length} bytes is too long{} at {name}", place.within());
            let found = Found::new(&place, &name, sentence).mend_at(&place, "ip link");
            Trouble { name: "mtu", stage: Stage::Link, found }
        }
    };
    Trouble { name, stage, found: seen(case, drop, found) }
}

fn takes_less(case: &Case<'_>, (place, device): (&Place, &Device), length: u32, told: &str) -> Trouble {
    let (name, mtu) = (&device.name, device.mtu);
    let sentence = format!(
        "packets of {length} bytes do not get through: {name}{} takes at most {mtu}; {told}",
        place.within()
    );
    let found = Found::new(place, name, sentence).seen(place.typed(&format!("ip link show {name}")), mtu);
    let found = match case.subject.instance {
        Some((there, device)) => found.mend(there, format!("ip link set {} mtu {mtu}", device.name)),
        None => found.mend(place, format!("ip link set {name} mtu {length}")),
    };
    Trouble { name: "mtu", stage: Stage::Link, found }
}

/// An ICMP error says how long it may be. `None`: a machine elsewhere takes less, and the instance is told.
fn said(case: &Case<'_>, trace: &Trace, error: &Sight, length: u32) -> Option<Trouble> {
    let what = if case.is_v6() { "ICMP packet too big" } else { "ICMP fragmentation needed" };
    let value = format!("MTU {} from {}", error.mtu, IpAddr::from(error.ends.source));
    let told = if trace.told { "the instance is told by ICMP" } else { "and the instance is not told" };
    if let Some(narrow) = narrow(case, error, length) {
        let trouble = takes_less(case, narrow, length, told);
        return Some(Trouble { found: trouble.found.seen(what, value), ..trouble });
    }
    (!trace.told).then(|| Trouble {
        found: Found {
            sentence: format!("{}; {told}", sentence(error, length)),
            ..refused(case, error, length)
        }
        .seen(what, value),
        name: "mtu",
        stage: Stage::Link,
    })
}

fn sentence(error: &Sight, length: u32) -> String {
    let (from, mtu) = (IpAddr::from(error.ends.source), error.mtu);
    format!("packets of {length} bytes do not get through: {from} says by ICMP that at most {mtu} do")
}

fn refused(case: &Case<'_>, error: &Sight, length: u32) -> Found {
    let (place, name) = (case.place(error.namespace), device(error));
    let from = IpAddr::from(error.ends.source);
    let found = Found::new(&place, from.to_string(), sentence(error, length));
    match case.subject.instance {
        Some((there, device)) => found.mend(there, format!("ip link set {} mtu {}", device.name, error.mtu)),
        None => found.mend_at(&place, format!("tcpdump -ni {name} host {from}")),
    }
}

/// The packet of an instance was too long, and it is told so.
pub fn told(case: &Case<'_>, error: &Sight) -> Trouble {
    let length = case.trace.longest;
    said(case, case.trace, error, length).unwrap_or_else(|| {
        let what = if case.is_v6() { "ICMP packet too big" } else { "ICMP fragmentation needed" };
        let found = refused(case, error, length).seen(what, format!("MTU {}", error.mtu));
        Trouble { name: "mtu", stage: Stage::Link, found }
    })
}

/// A ping that fills the MTU is not answered, a short one is. What is no more than that is a note: others may take no
/// long pings, and who is told to send less does so.
pub fn of_long_ping(case: &Case<'_>, length: u32, trace: &Trace) -> Result<Trouble, String> {
    if let Some(error) = trace.errors.iter().find(|error| error.mtu != 0) {
        return said(case, trace, error, length)
            .ok_or_else(|| sentence(error, length) + ", which the instance is told");
    }
    match trace.drops.last() {
        Some(drop) => Ok(dropped::explain(case, drop)),
        None => Err(format!("a ping of {length} bytes was not answered, a short one was")),
    }
}
