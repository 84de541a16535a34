//! Packets that leave by the uplink by which they came in: a rule without sources is for instances, and not
//! for their answers.

use lab::object::{Context, LO, NEW, Object, PLAIN, Packet, Step};
use lab::{SERVER, VM1};
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::Counter::{FlowsCreated, IcmpError, IcmpUnexpected};

use super::{A, S, one_of_each};

fn object() -> Object {
    let mut object = Object::new(PLAIN);
    object.set_rules(&[(LO, "0.0.0.0/0", PLAIN)], &[]);
    object
}

/// Leaves, and came in by the interface `by`.
fn leave(object: &mut Object, packet: &Packet, by: u32) -> Step {
    object.step(Hook::Egress, &packet.bytes(), Context { came_by: by, ..Context::on(LO) })
}

#[test]
fn answers_go_on_as_they_came_in() {
    let mut object = object();
    for packet in one_of_each(A) {
        object.out(&packet, NEW);
        let answer = packet.answer(A);
        leave(&mut object, &answer, LO).untouched(&[]);
        // An ICMP error about the packet.
        let error = Packet::icmp_error(SERVER, VM1, 3, 3, 0, &packet.ip_bytes());
        leave(&mut object, &error, LO).untouched(&[]);
    }
    assert_eq!(object.census().flows, 3);
}

#[test]
fn what_answers_nothing_or_came_in_elsewhere_is_translated_or_dropped() {
    let mut object = object();
    let [_, datagram, echo] = one_of_each(A);
    leave(&mut object, &datagram.answer(A), LO).translated(&[FlowsCreated]);
    leave(&mut object, &echo.answer(A), LO).dropped(IcmpUnexpected);
    object.out(&echo, NEW);
    leave(&mut object, &echo.answer(A), 0).dropped(IcmpUnexpected);
    leave(&mut object, &echo.answer(A), 7).dropped(IcmpUnexpected);
    let error = Packet::icmp_error(SERVER, VM1, 3, 3, 0, &Packet::udp((VM1, 77), S).ip_bytes());
    leave(&mut object, &error, LO).dropped(IcmpError);
}
