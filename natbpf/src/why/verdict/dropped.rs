//! The kernel has dropped the packet.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Sight};

use super::{
    case::{Case, MendAt as _, device, seen},
    filter::netfilter,
    mtu,
    neighbour::neighbour,
    routing::{reverse_path, route},
};
use crate::{
    doctor::{Found, Stage},
    why::{
        link::{Trouble, of_bridge},
        subject::NextHop,
        trace::Way,
    },
};

/// Where and why, by the reason that the kernel gives, and where it gives none by the function.
pub fn explain(case: &Case<'_>, drop: &Sight) -> Trouble {
    let (reason, function) = (case.names.reason(drop.reason), case.names.function(drop.location));
    match (reason, function) {
        ("NETFILTER_DROP", _) | (_, "nf_hook_slow") => netfilter(case, drop),
        ("IP_RPFILTER", _) => reverse_path(case, drop),
        ("IP_INADDRERRORS" | "IP_INNOROUTES" | "IP_OUTNOROUTES", _) | (_, "ip_error") => route(case, drop),
        (_, "dst_discard" | "dst_discard_out" | "ip6_forward" | "ip6_pkt_drop") => route(case, drop),
        ("NEIGH_FAILED" | "NEIGH_QUEUEFULL" | "NEIGH_DEAD" | "NEIGH_CREATEFAIL", _) => {
            let ends = (drop.ends.source.into(), drop.ends.destination.into());
            neighbour(case, drop.namespace, ends, drop.part == Part::Reply as u32)
                .unwrap_or_else(|| other(case, drop))
        }
        ("PKT_TOO_BIG", _) => mtu::dropped(case, drop),
        (_, "br_dev_queue_push_xmit" | "__dev_forward_skb" | "__dev_forward_skb2" | "veth_xmit")
            if mtu::narrow(case, drop, drop.length).is_some() =>
        {
            mtu::dropped(case, drop)
        }
        ("BRIDGE_INGRESS_STP_STATE" | "NO_TX_TARGET", _) => bridge(case, drop),
        (_, function)
            if function.starts_with("br_")
                || function.starts_with("__br_")
                || function == "__allowed_ingress" =>
        {
            bridge(case, drop)
        }
        ("XDP" | "TC_INGRESS" | "TC_EGRESS", _) => program(case, drop, reason),
        (reason, _) if reason.starts_with("QDISC_") || reason.starts_with("FQ_") => queue(case, drop),
        ("NO_SOCKET", _) => no_socket(case, drop),
        ("FULL_RING", _) => full_ring(case, drop),
        _ => other(case, drop),
    }
}

/// A bridge does not pass it on.
fn bridge(case: &Case<'_>, drop: &Sight) -> Trouble {
    let at = case.known(drop.namespace).and_then(|place| {
        let hop = case.hop_of(drop).filter(|hop| hop.way == Way::In);
        let index = hop.map_or(drop.device, |hop| hop.device);
        Some((place, place.device(index)?))
    });
    let target = match case.next_hop {
        NextHop::Ask(gateway) if drop.part == Part::Original as u32 => Some(gateway),
        _ => Some(IpAddr::from(drop.ends.destination)),
    };
    match at.and_then(|at| of_bridge(case.host, at, target)) {
        Some(trouble) => Trouble { found: seen(case, drop, trouble.found), ..trouble },
        None => other(case, drop),
    }
}

fn program(case: &Case<'_>, drop: &Sight, reason: &str) -> Trouble {
    let place = case.place(drop.namespace);
    let name = device(drop);
    let kind = match reason {
        "XDP" => "an XDP program",
        "TC_INGRESS" => "a filter at its TC ingress",
        _ => "a filter at its TC egress",
    };
    let sentence = format!("{kind} on {name}{} drops it", place.within());
    let found = Found::new(&place, &name, sentence).mend_at(&place, format!("bpftool net show dev {name}"));
    Trouble { name: "dropped-by-program", stage: Stage::Link, found: seen(case, drop, found) }
}

fn queue(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let name = device(drop);
    let sentence = format!("the queueing discipline of {name}{} has no room for it", place.within());
    let found = Found::new(&place, &name, sentence).mend_at(&place, format!("tc -s qdisc show dev {name}"));
    Trouble { name: "queue-full", stage: Stage::Link, found: seen(case, drop, found) }
}

fn no_socket(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let port = drop.ends.destination_port.number();
    let (address, within) = (IpAddr::from(drop.ends.destination), place.within());
    let sentence = format!("it arrived at {address}{within}, and nobody listens on port {port} there");
    let found = Found::new(&place, port.to_string(), sentence).mend_at(&place, "ss -lntup");
    Trouble { name: "nobody-listens", stage: Stage::Return, found: seen(case, drop, found) }
}

fn full_ring(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let name = device(drop);
    let sentence =
        format!("the guest does not take packets from {name}{}: its queue is full", place.within());
    let found = Found::new(&place, &name, sentence).mend_at(&place, format!("ip -s link show {name}"));
    Trouble { name: "guest-asleep", stage: Stage::Link, found: seen(case, drop, found) }
}

fn other(case: &Case<'_>, drop: &Sight) -> Trouble {
    let place = case.place(drop.namespace);
    let name = device(drop);
    let cause = case.cause_of(drop);
    let sentence = format!("the kernel{} drops it at {name}: {cause}", place.within());
    let found = Found::new(&place, &name, sentence).mend_at(&place, format!("ip -s link show {name}"));
    Trouble { name: "dropped", stage: Stage::Link, found: seen(case, drop, found) }
}
