//! Somebody has said that the packet goes no further: by ICMP, or by a reset of TCP.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Point, Sight};

use super::{
    case::{Case, MendAt as _, device},
    mtu,
};
use crate::{
    doctor::{Found, Stage},
    why::link::Trouble,
};

/// Somebody says by ICMP that it goes no further, and nothing was seen of a drop.
pub fn by_icmp(case: &Case<'_>, error: &Sight) -> Trouble {
    let from = IpAddr::from(error.ends.source);
    let [kind, code] = (error.icmp as u16).to_be_bytes();
    if error.mtu != 0 {
        return mtu::told(case, error);
    }
    let what = match (case.is_v6(), kind, code) {
        (false, 3, 3) | (true, 1, 4) => {
            format!("it arrives, and nobody listens there: {from} says port unreachable")
        }
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5) => format!("{from} refuses it by a rule"),
        (false, 3, 0) | (true, 1, 0) => format!("{from} has no route to {}", case.destination),
        (false, 3, 1) | (true, 1, 3) => {
            format!("{from} does not reach {}: nobody answers there", case.destination)
        }
        (false, 11, _) | (true, 3, _) => {
            format!("it goes in a circle, or too far: {from} says that its time is over")
        }
        _ => format!("{from} refuses it by ICMP type {kind} code {code}"),
    };
    let place = case.place(error.namespace);
    let found = Found::new(&place, from.to_string(), what)
        .seen(format!("ICMP error at {}", device(error)), format!("type {kind} code {code} from {from}"))
        .mend_at(&place, case.ip(&format!("route get {}", case.destination)));
    Trouble { name: "refused", stage: Stage::Return, found }
}

/// Whether a drop has to do with a reset: of the reset, or where that was made.
pub fn is_of_reset(drop: &Sight, reset: &Sight) -> bool {
    drop.part == Part::Reply as u32
        || reset.point != Point::Received as u32 && drop.namespace == reset.namespace
}

/// A reset comes back, and nothing was seen of a drop.
pub fn by_reset(case: &Case<'_>, reset: &Sight) -> Trouble {
    let from = IpAddr::from(reset.ends.source);
    let (place, name, port) = (case.place(reset.namespace), device(reset), reset.ends.source_port);
    let way = if reset.point == Point::Received as u32 { "comes by" } else { "is sent by" };
    let sentence = format!(
        "{from} resets the connection to port {port}: nobody listens there, or a firewall in front of it refuses; the \
         reset {way} {name}{}",
        place.within()
    );
    let found = Found::new(&place, from.to_string(), sentence)
        .seen(format!("reset at {name}"), format!("RST from {from} port {port}"))
        .mend_at(&place, format!("tcpdump -ni {name} host {from} and tcp port {port}"));
    Trouble { name: "refused", stage: Stage::Return, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_elsewhere_has_nothing_to_do_with_a_reset() {
        let drop = |part: Part, namespace| Sight { part: part as u32, namespace, ..Sight::default() };
        let mut reset = Sight { namespace: 1, point: Point::Sent as u32, ..Sight::default() };
        assert!(is_of_reset(&drop(Part::Original, 1), &reset));
        assert!(!is_of_reset(&drop(Part::Original, 2), &reset));
        assert!(is_of_reset(&drop(Part::Reply, 2), &reset));
        // Somebody outside has made it.
        reset.point = Point::Received as u32;
        assert!(!is_of_reset(&drop(Part::Original, 1), &reset));
    }
}
