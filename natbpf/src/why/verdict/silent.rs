//! Nothing was dropped, and nothing came back.

use std::net::IpAddr;

use natbpf_common::{
    contract::follow::Sight,
    wire::protocol::{ICMP, ICMP6},
};

use super::{
    case::{Case, MendAt as _, device, is_taken},
    neighbour::neighbour,
};
use crate::{
    doctor::{Found, Stage},
    facts::Place,
    why::{
        link::{Trouble, of_device},
        trace::{Hop, Way},
    },
};

/// `last`: where it was seen last, on the way there or back.
pub fn explain(case: &Case<'_>, last: &Hop, is_reply: bool) -> Trouble {
    if last.waits {
        return waits(case, last);
    }
    if last.way == Way::In
        && let Some(trouble) = neighbour(case, last.place, (last.source(), last.destination()), is_reply)
    {
        return trouble;
    }
    let known = case.known(last.place);
    if let Some(known) = known
        && last.way == Way::In
        && known.has(last.destination())
        && !is_reply
    {
        return arrived(case, known, last);
    }
    if let Some(astray) = case.trace.astray.last() {
        return wrong_mac(case, astray);
    }
    if last.way == Way::Out {
        let device = known.and_then(|place| Some((place, place.device(last.device)?)));
        let ends = device.and_then(|(place, device)| case.host.peer(place, device));
        if let Some(trouble) = device.and_then(of_device).or_else(|| ends.and_then(of_device)) {
            return trouble;
        }
    }
    left(case, last, is_reply)
}

/// It came to somebody whose hardware address it does not have.
fn wrong_mac(case: &Case<'_>, astray: &Sight) -> Trouble {
    let place = case.place(astray.namespace);
    let name = device(astray);
    let sentence = format!(
        "it came by {name}{} with the hardware address of another machine: who sends it has a wrong or old one for \
         its next hop",
        place.within()
    );
    let mut found =
        Found::new(&place, &name, sentence).seen(format!("dropped at {name}"), case.cause_of(astray));
    found = match case.subject.instance {
        Some((instance, device)) => {
            found.mend(instance, case.ip(&format!("neigh flush dev {}", device.name)))
        }
        None => found.mend_at(&place, case.ip("neigh")),
    };
    Trouble { name: "wrong-mac", stage: Stage::Neighbour, found }
}

fn waits(case: &Case<'_>, last: &Hop) -> Trouble {
    let place = case.place(last.place);
    let name = &last.name;
    let sentence = format!("it waits in the queueing discipline of {name}{}", place.within());
    let found = Found::new(&place, name, sentence)
        .seen(name, "queued, not sent")
        .mend_at(&place, format!("tc -s qdisc show dev {name}"));
    Trouble { name: "queued", stage: Stage::Link, found }
}

/// The destination has it, and is on this host.
fn arrived(case: &Case<'_>, known: &Place, last: &Hop) -> Trouble {
    let source = last.source();
    if known.route_to(source).is_none_or(|route| route.refuses) {
        return untranslated(case, last).unwrap_or_else(|| {
            let sentence = format!("it arrived{}, which has no route back to {source}", known.within());
            let found = Found::new(known, source.to_string(), sentence)
                .seen(known.typed(&case.ip(&format!("route get {source}"))), "no way")
                .mend(known, case.ip(&format!("route add {source} via GATEWAY")));
            Trouble { name: "no-way-back", stage: Stage::Return, found }
        });
    }
    let (path, echo) =
        if case.is_v6() { ("ipv6/icmp/echo_ignore_all", ICMP6) } else { ("ipv4/icmp_echo_ignore_all", ICMP) };
    let is_ping = last.ends.protocol == u32::from(echo);
    if is_ping && known.settings.number(path) == Some(1) {
        let name = format!("net.{}", path.replace('/', "."));
        let sentence = format!("it arrived{} by {}, which answers no ping", known.within(), last.name);
        let found =
            Found::new(known, &name, sentence).seen(&name, 1).mend(known, format!("sysctl -w {name}=0"));
        return Trouble { name: "ping-ignored", stage: Stage::Return, found };
    }
    let taken = if is_taken(case, last.place) { "somebody took it" } else { "nobody was seen to take it" };
    let sentence = format!("it arrived{} by {}, and no answer was sent: {taken}", known.within(), last.name);
    let found = Found::new(known, case.destination.to_string(), sentence)
        .seen(&last.name, format!("received {source} > {}", last.destination()))
        .mend(known, "ss -lntu");
    Trouble { name: "unanswered", stage: Stage::Return, found }
}

/// It has left with the private address of the instance, which nobody outside knows.
fn untranslated(case: &Case<'_>, last: &Hop) -> Option<Trouble> {
    let address = case.subject.address;
    if last.source() != address || !is_private(address) || is_private(case.destination) {
        return None;
    }
    let (place, out) = routed(case)?;
    let is_certain =
        last.way == Way::In && case.known(last.place).is_some_and(|place| place.has(case.destination));
    let program = if case.is_v6() { "ip6tables" } else { "iptables" };
    let rule = format!("{program} -t nat -A POSTROUTING -s {address} -o {} -j MASQUERADE", out.name);
    let (why, mend) = if is_certain {
        ("nothing translates it", rule)
    } else {
        ("maybe nothing translates it, here or further on", format!("{program} -t nat -S POSTROUTING"))
    };
    let sentence = format!(
        "it left by {}{} as {address}, a private address, and no answer finds back: {why}",
        out.name,
        place.within()
    );
    let found = Found::new(place, address.to_string(), sentence)
        .seen(format!("sent by {}", out.name), format!("{} > {}", out.source(), out.destination()))
        .mend(place, mend);
    Some(Trouble { name: "untranslated", stage: Stage::Translation, found })
}

/// Where the last router has passed it on: by another device than it has come by, and not as a bridge does.
fn routed<'a>(case: &Case<'a>) -> Option<(&'a Place, &'a Hop)> {
    let layer3 = |hop: &Hop| {
        let place = case.known(hop.place)?;
        place.device(hop.device).filter(|device| device.port.is_none()).map(|_| place)
    };
    let hops = &case.trace.there;
    hops.iter().enumerate().rev().filter(|(_, hop)| hop.way == Way::Out).find_map(|(number, out)| {
        let place = layer3(out).filter(|place| place.forwards_for(case.destination))?;
        let came = hops[..number].iter().any(|hop| {
            hop.way == Way::In
                && (hop.place, hop.device != out.device) == (out.place, true)
                && layer3(hop).is_some()
        });
        came.then_some((place, out))
    })
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// It is out of sight.
fn left(case: &Case<'_>, last: &Hop, is_reply: bool) -> Trouble {
    if let Some(trouble) = untranslated(case, last).filter(|_| !is_reply) {
        return trouble;
    }
    let place = case.place(last.place);
    let (name, within) = (&last.name, place.within());
    let (what, way) = match (is_reply, last.way) {
        (false, Way::Out) => ("it", "left by"),
        (false, Way::In) => ("it", "came by"),
        (true, Way::Out) => ("the answer", "left by"),
        (true, Way::In) => ("the answer", "came by"),
    };
    let sentence = match (is_reply, last.way) {
        (false, Way::Out) => format!(
            "it left by {name}{within} as {}, and nothing came back: who should answer for {}, and does the way back \
             lead here?",
            last.source(),
            last.destination()
        ),
        _ => format!("{what} {way} {name}{within}, and nothing more was seen of it"),
    };
    let found = Found::new(&place, name, sentence)
        .seen(format!("{way} {name}"), format!("{} > {}", last.source(), last.destination()))
        .mend_at(&place, format!("tcpdump -ni {name} host {}", last.destination()));
    Trouble { name: "nothing-came-back", stage: Stage::Return, found }
}
