//! Full tables: flows that were never answered give way, running ones do not notice; where all run the new one is refused.

use lab::object::{Census, NEW, Object, PLAIN, Packet, Verdict, key_of};
use lab::{GATEWAY, SERVER, VM1};
use natbpf_common::config::Rule;
use natbpf_common::counter::Counter::{FlowsCreated, FlowsDroppedEarly, FlowsRemoved, TableFull};
use natbpf_common::protocol::UDP;
use natbpf_common::tcp::SYN;

use super::S;

fn from(port: u16) -> Packet {
    Packet::udp((VM1, port), S)
}

/// A flow that runs: it was answered.
fn run(object: &mut Object, port: u16) {
    let external = object.out(&from(port), NEW);
    object.back(&from(port).answer(external), (VM1, port));
}

#[test]
fn a_full_table_refuses_the_new_flow_and_harms_none() {
    let mut object = Object::sized(PLAIN, 8, 64);
    for port in 1..=4 {
        run(&mut object, port);
    }
    for port in 5..=40 {
        object.egress(&from(port)).dropped(TableFull);
        object.egress(&Packet::tcp((VM1, port), S, SYN)).dropped(TableFull);
        object.egress(&Packet::other(47, VM1, SERVER)).dropped(TableFull);
    }
    for port in 1..=4 {
        object.out(&from(port), &[]);
        object.back(&from(port).answer((GATEWAY, port)), (VM1, port));
    }
    object.census();
    object.expect_all_to_go();
    object.out(&from(5), NEW);
}

/// What a new flow counts that another one has given way to.
const INSTEAD: &[natbpf_common::counter::Counter] = &[FlowsCreated, FlowsDroppedEarly, FlowsRemoved];

#[test]
fn the_oldest_that_was_never_answered_gives_way_and_none_that_was() {
    // Whatever is counted to sources and mappings is given back.
    let mut object = Object::sized(Rule { max_flows: 9, ..PLAIN }, 10, 64);
    for port in [1, 3] {
        run(&mut object, port);
    }
    for port in [2, 4] {
        object.out(&from(port), NEW);
    }
    run(&mut object, 5);
    for (new, old) in [(6, 2), (7, 4), (8, 6), (9, 7)] {
        assert_eq!(object.out(&from(new), INSTEAD), (GATEWAY, new));
        assert!(object.entry(&key_of(&from(old))).is_none(), "{old} gives way to {new}");
        object.ingress(&from(old).answer((GATEWAY, old))).untouched(&[]);
    }
    for port in [1, 3, 5] {
        object.out(&from(port), &[]);
        object.back(&from(port).answer((GATEWAY, port)), (VM1, port));
    }
    assert_eq!(object.census().flows, 5);
    object.expect_all_to_go();
}

#[test]
fn one_that_is_answered_late_is_safe_from_then_on() {
    let mut object = Object::sized(PLAIN, 2, 64);
    object.out(&from(1), NEW);
    object.out(&from(2), INSTEAD);
    object.back(&from(2).answer((GATEWAY, 2)), (VM1, 2));
    object.egress(&from(3)).dropped(TableFull);
    object.out(&from(2), &[]);
    object.census();
    object.expect_all_to_go();
}

/// An instance that asks every port of every host finds room for all of its questions, and takes none from the others.
#[test]
fn a_scan_passes_through_a_full_table() {
    let mut object = Object::sized(PLAIN, 64, 256);
    run(&mut object, 1);
    let mut early = 0;
    for port in 1000..1500 {
        let step = object.egress(&Packet::tcp((VM1, 5000), (SERVER, port), SYN));
        early += step.counted.get(FlowsDroppedEarly.name()).copied().unwrap_or_default();
        assert_eq!(step.verdict, Verdict::Pass, "{step:?}");
    }
    assert_eq!(early, 500 - 31);
    object.out(&from(1), &[]);
    assert_eq!(object.census().flows, 32);
    object.expect_all_to_go();
}

/// What a stranger began has been answered by the inside.
#[test]
fn strangers_flows_find_room_too_and_never_give_way() {
    let mut object = Object::sized(PLAIN, 4, 64);
    object.forward(UDP, 8080, (VM1, 80));
    for port in 1..=2 {
        object.out(&from(port), NEW);
    }
    for port in 1..=2 {
        object.meet(
            &Packet::udp((SERVER, port), (GATEWAY, 8080)),
            (VM1, 80),
            &[FlowsDroppedEarly, FlowsRemoved],
        );
    }
    object.egress(&from(3)).dropped(TableFull);
    // A third one goes on without a flow, as long as strangers are remembered.
    for _ in 0..2 {
        object.back(&Packet::udp((SERVER, 3), (GATEWAY, 8080)), (VM1, 80));
        assert_eq!(object.leave(&Packet::udp((VM1, 80), (SERVER, 3)), &[]), (GATEWAY, 8080));
    }
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

/// The reply direction's entry finds room, the original's does not.
#[test]
fn half_a_flow_is_taken_out_again() {
    let mut object = Object::sized(PLAIN, 3, 64);
    run(&mut object, 1);
    object.egress(&from(2)).dropped(TableFull);
    object.egress(&from(2)).dropped(TableFull);
    object.egress(&from(3)).dropped(TableFull);
    object.out(&from(1), &[]);
    object.census();
    object.expect_all_to_go();
}

/// The host has no entry to make room for.
#[test]
fn the_host_goes_on_without_a_reservation() {
    let mut object = Object::sized(PLAIN, 2, 64);
    object.out(&from(1), NEW);
    object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[]);
    object.egress(&Packet::udp((GATEWAY, 9), S)).untouched(&[]);
}

/// It cannot be moved away; sending it as it is would mix it with the instance's flow.
#[test]
fn a_host_that_comes_second_is_refused_when_there_is_no_room() {
    let mut object = Object::sized(PLAIN, 2, 64);
    run(&mut object, 5000);
    object.egress(&Packet::udp((GATEWAY, 5000), S)).dropped(TableFull);
    object.out(&from(5000), &[]);
    assert_eq!(object.host_moved(), 0);
}

/// One direction's entry finds room, the other's does not; what is left goes with the grace period.
#[test]
fn a_host_that_finds_half_the_room_is_refused_too() {
    let mut object = Object::sized(PLAIN, 3, 64);
    run(&mut object, 5000);
    let own = Packet::udp((GATEWAY, 5000), S);
    for _ in 0..2 {
        // It counts what it tried as well.
        let step = object.egress(&own);
        assert_eq!(step.verdict, Verdict::Drop);
        assert_eq!(step.counted.get(TableFull.name()), Some(&1), "{:?}", step.counted);
    }
    assert_eq!(object.host_moved(), 0);
    object.let_pass(3);
    object.idle(&from(5000), 0);
    object.reap_all();
    assert_eq!(object.census(), Census { flows: 1, orphans: 0, mappings: 1 });
}
