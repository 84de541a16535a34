//! Full tables: the new flow is refused, running ones do not notice.

use lab::object::{Census, NEW, Object, PLAIN, Packet, Verdict};
use lab::{GATEWAY, SERVER, VM1};
use natbpf_common::counter::Counter::TableFull;
use natbpf_common::tcp::SYN;

use super::S;

fn from(port: u16) -> Packet {
    Packet::udp((VM1, port), S)
}

#[test]
fn a_full_table_refuses_the_new_flow_and_harms_none() {
    let mut object = Object::sized(PLAIN, 8, 64);
    for port in 1..=4 {
        object.out(&from(port), NEW);
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

/// The reply direction's entry finds room, the original's does not.
#[test]
fn half_a_flow_is_taken_out_again() {
    let mut object = Object::sized(PLAIN, 3, 64);
    object.out(&from(1), NEW);
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
    object.out(&from(5000), NEW);
    object.egress(&Packet::udp((GATEWAY, 5000), S)).dropped(TableFull);
    object.out(&from(5000), &[]);
    assert_eq!(object.host_moved(), 0);
}

/// One direction's entry finds room, the other's does not; what is left goes with the grace period.
#[test]
fn a_host_that_finds_half_the_room_is_refused_too() {
    let mut object = Object::sized(PLAIN, 3, 64);
    object.out(&from(5000), NEW);
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
