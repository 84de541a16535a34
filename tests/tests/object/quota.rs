//! Limits for a source: how many flows it has, and how fast they come (RFC 6888 REQ-4).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lab::object::{LO, NEW, NEW_PORT, Object, PLAIN, Packet, TIMEOUT, floating, key_of, to_ports};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf_common::SECOND;
use natbpf_common::contract::counter::Counter::{
    FlowsCreated, FlowsInbound, FlowsRemapped, NoPort, ProtocolCollision, Quota, TableFull, TcpNoFlow,
};
use natbpf_common::contract::rules::Rule;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::flow::Traits;
use natbpf_common::nat::mapping::{Mapping, Side, Users};
use natbpf_common::wire::protocol::{GRE, UDP};
use natbpf_common::wire::segment::{RST, SYN};

use super::{A, B, S, one_of_each};

const THREE: Rule = Rule { max_flows: 3, ..PLAIN };

/// How many flows an instance's account says that it has; `None`: it has none.
fn counted(object: &Object, instance: Ipv4Addr) -> Option<u32> {
    in_account(object, instance, 0)
}

/// The same of those that strangers have begun to it.
fn counted_inbound(object: &Object, instance: Ipv4Addr) -> Option<u32> {
    in_account(object, instance, 1)
}

fn in_account(object: &Object, instance: Ipv4Addr, number: u16) -> Option<u32> {
    let account = |endpoint: &natbpf_common::nat::mapping::Endpoint| {
        endpoint.side == Side::Source as u8
            && endpoint.address == instance.into()
            && endpoint.port.number() == number
    };
    let mappings = object.mappings();
    let found = mappings.iter().find(|(endpoint, _)| account(endpoint));
    found.map(|(_, Mapping { users, .. })| Users::from_word(*users).count())
}

fn flow(number: u16) -> Packet {
    Packet::udp((VM1, 6000 + number), S)
}

#[test]
fn no_more_flows_than_that() {
    let mut object = Object::new(THREE);
    for packet in one_of_each(A) {
        object.out(&packet, NEW);
    }
    for _ in 0..3 {
        object.egress(&flow(4)).dropped(Quota);
        object.egress(&Packet::other(GRE, VM1, SERVER)).dropped(Quota);
    }
    // Those that run go on, in both directions.
    for packet in one_of_each(A) {
        object.out(&packet, &[]);
        object.back(&packet.answer((GATEWAY, 5000)), A);
    }
    // The account is the source's own.
    for packet in one_of_each(B) {
        object.out(&packet, NEW_PORT);
    }
    assert_eq!((counted(&object, VM1), counted(&object, VM2)), (Some(3), Some(3)));
    object.census();
    object.expect_all_to_go();
}

#[test]
fn a_flow_that_goes_makes_room() {
    let mut object = Object::new(THREE);
    for number in 0..3 {
        object.out(&flow(number), NEW);
    }
    object.idle(&flow(1), TIMEOUT + 2);
    object.egress(&flow(3)).dropped(Quota);
    object.reap_all();
    object.egress(&flow(3)).dropped(Quota);
    object.let_pass(3);
    object.reap_all();
    object.out(&flow(3), NEW);
    object.egress(&flow(4)).dropped(Quota);
    object.census();
    object.expect_all_to_go();
}

/// It is the same flow.
#[test]
fn another_translation_at_the_limit() {
    let mut object = Object::new(THREE);
    for number in 0..3 {
        object.out(&flow(number), NEW);
    }
    for _ in 0..5 {
        object.kill(&[key_of(&flow(1))]);
        object.out(&flow(1), &[FlowsRemapped]);
        assert_eq!(counted(&object, VM1), Some(3));
    }
    // Also one that loses its address.
    object.set_uplinks(&[lab::object::uplink(LO, &["203.0.113.77/24"])]);
    object.out_by(LO, Ipv4Addr::new(203, 0, 113, 77), &flow(1), &[FlowsRemapped]);
    assert_eq!(counted(&object, VM1), Some(3));
    object.idle(&flow(1), TIMEOUT + 2);
    object.out_by(LO, Ipv4Addr::new(203, 0, 113, 77), &flow(1), &[]);
    object.egress(&flow(3)).dropped(Quota);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn a_flow_that_gets_no_translation_gives_back_what_it_was_counted_for() {
    // No port is free.
    let mut object = Object::new(Rule { max_flows: 3, ..to_ports(50000, 50000) });
    object.out(&Packet::udp((VM1, 50000), S), NEW);
    object.begin(
        &Packet::udp((VM2, 50000), (SERVER2, 1)),
        &[natbpf_common::contract::counter::Counter::PortsOverlapped],
    );
    for _ in 0..5 {
        object.egress(&Packet::udp((VM2, 50001), S)).dropped(NoPort);
    }
    assert_eq!(counted(&object, VM2), Some(1));
    // Another instance has the tunnel.
    object.out(&Packet::other(GRE, VM1, SERVER), NEW);
    for _ in 0..5 {
        object.egress(&Packet::other(GRE, VM2, SERVER)).dropped(ProtocolCollision);
    }
    // What begins no flow.
    object.egress(&Packet::tcp(B, S, RST)).dropped(TcpNoFlow);
    assert_eq!(counted(&object, VM2), Some(1));
    object.census();
    object.expect_all_to_go();
    // No room in the table: none at all, and none for the second entry.
    for entries in [2, 3] {
        let mut object = Object::sized(THREE, entries, 16);
        object.out(&Packet::udp(A, S), NEW);
        object.back(&Packet::udp(S, (GATEWAY, A.1)), A);
        for number in 0..5 {
            object.egress(&Packet::udp((VM2, 7000 + number), S)).dropped(TableFull);
            object.idle(&Packet::udp(A, S), 0);
            object.let_pass(3);
            object.reap_all();
        }
        assert!(matches!(counted(&object, VM2), None | Some(0)));
        object.census();
        object.expect_all_to_go();
    }
}

/// A rule that is changed later counts what begins later.
#[test]
fn limits_that_come_and_go() {
    let mut object = Object::default();
    object.out(&flow(0), NEW);
    object.set_rules(&[(LO, lab::INSIDE, THREE)], &[]);
    for number in 1..4 {
        object.out(&flow(number), NEW);
    }
    object.egress(&flow(4)).dropped(Quota);
    // The first one is counted when it gets another translation, and there is no room.
    object.kill(&[key_of(&flow(0))]);
    object.egress(&flow(0)).dropped(Quota);
    object.kill(&[key_of(&flow(1))]);
    object.set_rules(&[(LO, lab::INSIDE, PLAIN)], &[]);
    object.out(&flow(0), &[FlowsRemapped]);
    object.out(&flow(1), &[FlowsRemapped]);
    object.out(&flow(4), NEW);
    assert_eq!(counted(&object, VM1), Some(3));
    assert!(object.flow(&flow(1)).traits.intersects(Traits::COUNTED), "it still is");
    object.census();
    object.expect_all_to_go();
}

/// RFC 6888 REQ-4 counts for the subscriber, whichever side begins.
#[test]
fn flows_from_outside_count_for_the_instance() {
    let mut object = Object::new(THREE);
    object.forward(UDP, 8080, (VM1, 80));
    let from = |port| Packet::udp((SERVER, port), (GATEWAY, 8080));
    for port in 1..=3 {
        object.meet(&from(port), (VM1, 80), &[]);
    }
    // One more is let in and answered, and is no flow.
    object.back(&from(4), (VM1, 80));
    object.leave(&Packet::udp((VM1, 80), (SERVER, 4)), &[]);
    object.back(&from(1), (VM1, 80));
    assert_eq!((counted(&object, VM1), counted_inbound(&object, VM1)), (None, Some(3)));
    // One whose time is over begins again in its own place; so does one that was ended.
    let answer = |port| Packet::udp((VM1, 80), (SERVER, port));
    object.idle(&answer(1), TIMEOUT + 2);
    object.back(&from(1), (VM1, 80));
    object.leave(&answer(1), &[]);
    object.kill(&[key_of(&answer(2))]);
    object.meet(&from(2), (VM1, 80), &[]);
    assert_eq!(counted_inbound(&object, VM1), Some(3));
    object.census();
    object.expect_all_to_go();
}

#[test]
fn flows_by_mappings_and_floating_addresses_count_too() {
    let mut object = Object::new(Rule { flags: RuleFlags::OPEN, ..THREE });
    object.set_flags(UplinkFlags::SERVES);
    let external = object.out(&Packet::udp(A, S), NEW);
    for port in 1..=3 {
        object.meet(&Packet::udp((SERVER2, port), external), A, &[]);
    }
    object.back(&Packet::udp((SERVER2, 4), external), A);
    object.leave(&Packet::udp(A, (SERVER2, 4)), &[]);
    assert_eq!(object.census().flows, 4);
    object.expect_all_to_go();

    let address = Ipv4Addr::new(203, 0, 113, 50);
    let mut object = Object::default();
    object.float(address, VM1);
    object.set_rules(&[(LO, "10.0.0.11/32", Rule { max_flows: 1, ..floating(address) })], &[]);
    object.meet(&Packet::echo(SERVER, address, 9), (VM1, 9), &[]);
    object.back(&Packet::echo(SERVER, address, 10), (VM1, 10));
    object.leave(&Packet::icmp(VM1, SERVER, 0, 10), &[]);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}

/// Nothing is done to such a packet, whether there is room for its flow or not.
#[test]
fn flows_toward_inside_addresses_at_the_limit() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    for port in 1..=2 {
        object.ingress(&Packet::udp((SERVER, port), A)).untouched(&[]);
    }
    object.egress(&Packet::udp(A, (SERVER, 1))).untouched(&[FlowsInbound]);
    // Without a flow it is known for as long as strangers are.
    object.egress(&Packet::udp(A, (SERVER, 2))).untouched(&[]);
    object.let_pass(31);
    object.out(&Packet::udp(A, (SERVER, 2)), NEW);
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

#[test]
fn without_room_for_an_account_nobody_is_limited() {
    let mut object = Object::sized(Rule { max_flows: 1, flags: RuleFlags::PER_DESTINATION, ..PLAIN }, 64, 1);
    object.out(&Packet::udp(A, S), NEW);
    object.egress(&flow(1)).dropped(Quota);
    for port in 1..=3 {
        object.out(&Packet::udp((VM2, port), S), NEW);
    }
    object.census();
    object.expect_all_to_go();
}

#[test]
fn flows_come_no_faster_than_that() {
    const INTERVAL: Duration = Duration::from_millis(250);
    let mut object = Object::new(Rule { interval: (SECOND / 4).number() as u32, ..PLAIN });
    let begin = |object: &mut Object, numbers: std::ops::Range<u16>| -> (usize, Duration) {
        let start = Instant::now();
        let mut begun = 0;
        for number in numbers {
            let step = object.egress(&flow(number));
            match step.counted.get(FlowsCreated.name()) {
                Some(1) => begun += 1,
                _ => step.dropped(Quota),
            }
        }
        (begun, start.elapsed())
    };
    // A second's worth at once, and one for each interval that has passed meanwhile.
    let (begun, elapsed) = begin(&mut object, 0..20);
    let passed = 1 + elapsed.as_millis() as usize / INTERVAL.as_millis() as usize;
    assert!((4..=4 + passed).contains(&begun), "{begun} in {elapsed:?}");
    // Those that run are not asked.
    for _ in 0..20 {
        object.out(&flow(0), &[]);
    }
    assert_eq!(counted(&object, VM1), Some(begun as u32), "those refused are not counted");
    // Another source has its own.
    object.out(&Packet::udp(B, S), NEW);
    // A second of silence, and a minute: a second's worth again.
    for (seconds, first) in [(1, 100), (60, 200)] {
        object.let_pass(seconds);
        let (begun, elapsed) = begin(&mut object, first..first + 20);
        let passed = 1 + elapsed.as_millis() as usize / INTERVAL.as_millis() as usize;
        assert!((4..=4 + passed).contains(&begun), "{begun} in {elapsed:?}");
    }
    object.census();
    object.expect_all_to_go();
}

/// Also of those that come slower than one a second.
#[test]
fn one_flow_may_always_begin() {
    let mut object = Object::new(Rule { interval: u32::MAX, ..PLAIN });
    object.out(&flow(0), NEW);
    object.egress(&flow(1)).dropped(Quota);
    object.let_pass(5);
    object.out(&flow(1), NEW);
    object.egress(&Packet::tcp(A, S, SYN)).dropped(Quota);
    object.expect_all_to_go();
}
