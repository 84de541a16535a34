//! Which flows have one external port (RFC 4787 section 4.1), and who may use it from outside (section 5).

use std::net::Ipv4Addr;

use lab::object::{NEW, NEW_PORT, Object, PLAIN, Packet, to_ports};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf_common::contract::counter::Counter::PortsOverlapped;
use natbpf_common::contract::rules::Rule;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::wire::segment::{ACK, SYN};

use super::{A, B, S, one_of_each};

const PER_DESTINATION: Rule = Rule { flags: RuleFlags::PER_DESTINATION, ..PLAIN };

/// Twenty endpoints outside.
fn destinations() -> impl Iterator<Item = (Ipv4Addr, u16)> {
    (0..20).map(|number| (Ipv4Addr::new(198, 51, 100, number / 2), 1000 + u16::from(number)))
}

#[test]
fn one_endpoint_has_one_port_toward_everybody() {
    let mut object = Object::default();
    for destination in destinations() {
        for packet in [Packet::udp(A, destination), Packet::tcp(A, destination, SYN)] {
            assert_eq!(object.out(&packet, NEW), (GATEWAY, 5000));
        }
    }
    assert_eq!(object.census().mappings, 2, "one for TCP, one for UDP");
}

#[test]
fn one_port_toward_everybody_also_when_it_is_not_the_source_port() {
    for flags in [RuleFlags::empty(), RuleFlags::RANDOM] {
        let mut object = Object::new(Rule { flags, ..PLAIN });
        object.egress(&Packet::udp(A, S)).translated(if flags.is_empty() { NEW } else { NEW_PORT });
        let external = object.out(&Packet::udp(B, S), NEW_PORT);
        for destination in destinations() {
            let packet = Packet::udp(B, destination);
            assert_eq!(object.out(&packet, NEW_PORT), external);
            object.back(&packet.answer(external), B);
        }
        object.expect_all_to_go();
    }
}

#[test]
fn echo_identifiers_are_mapped_as_ports_are() {
    let mut object = Object::default();
    object.out(&Packet::echo(VM1, SERVER, 9), NEW);
    let external = object.out(&Packet::echo(VM2, SERVER, 9), NEW_PORT);
    assert_eq!(object.out(&Packet::echo(VM2, SERVER2, 9), NEW_PORT), external);
}

#[test]
fn a_port_belongs_to_one_endpoint_whatever_the_destination() {
    let mut object = Object::default();
    object.out(&Packet::udp(A, S), NEW);
    for destination in destinations() {
        assert_ne!(object.out(&Packet::udp(B, destination), NEW_PORT).1, 5000);
    }
}

#[test]
fn tcp_and_udp_ports_are_two_things() {
    let mut object = Object::default();
    assert_eq!(object.out(&Packet::udp(A, S), NEW).1, 5000);
    assert_eq!(object.out(&Packet::tcp(B, S, SYN), NEW).1, 5000);
}

#[test]
fn per_destination_shares_a_port_toward_different_destinations() {
    let mut object = Object::new(PER_DESTINATION);
    assert_eq!(object.out(&Packet::udp(A, S), NEW).1, 5000);
    assert_eq!(object.out(&Packet::udp(B, (SERVER, 9001)), NEW).1, 5000);
    assert_eq!(object.out(&Packet::udp(B, (SERVER2, 9000)), NEW).1, 5000);
    let other = object.out(&Packet::udp(B, S), NEW_PORT);
    assert_ne!(other.1, 5000);
    object.back(&Packet::udp(S, (GATEWAY, 5000)), A);
    object.back(&Packet::udp((SERVER2, 9000), (GATEWAY, 5000)), B);
    object.back(&Packet::udp(S, other), B);
    assert_eq!(object.census().mappings, 0);
    object.expect_all_to_go();
}

#[test]
fn per_destination_ports_differ_from_destination_to_destination() {
    let mut object = Object::new(PER_DESTINATION);
    let mut ports = std::collections::BTreeSet::new();
    for destination in destinations() {
        object.out(&Packet::udp(A, destination), NEW);
        ports.insert(object.out(&Packet::udp(B, destination), NEW_PORT).1);
    }
    assert!(ports.len() > 10, "{ports:?}");
}

/// RFC 4787 section 5: address-and-port-dependent filtering.
#[test]
fn nobody_else_reaches_an_instance_by_its_port() {
    let mut object = Object::default();
    let external = object.out(&Packet::udp(A, S), NEW);
    for stranger in [(SERVER, 9001), (SERVER2, 9000), (VM2, 9000)] {
        object.ingress(&Packet::udp(stranger, external)).untouched(&[]);
    }
    object.ingress(&Packet::tcp(S, external, SYN)).untouched(&[]);
    object.ingress(&Packet::tcp(S, external, SYN | ACK)).untouched(&[]);
    object.ingress(&Packet::udp(S, (GATEWAY, 5001))).untouched(&[]);
    object.ingress(&Packet::udp(S, (SERVER2, 5000))).untouched(&[]);
    object.back(&Packet::udp(S, external), A);
}

#[test]
fn replies_to_queries_come_from_where_they_went() {
    let mut object = Object::default();
    let query = Packet::echo(VM1, SERVER, 3);
    let external = object.out(&query, NEW);
    object.ingress(&Packet::echo(VM1, SERVER2, 3).answer(external)).untouched(&[]);
    object.ingress(&Packet::icmp(VM1, SERVER, 13, 3).answer(external)).untouched(&[]);
    // A query from outside is the gateway's own affair.
    object.ingress(&Packet::echo(SERVER, GATEWAY, 3)).untouched(&[]);
    object.back(&query.answer(external), (VM1, 3));
}

#[test]
fn a_port_can_be_had_again_when_its_flows_are_gone() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        object.out(&packet, NEW);
    }
    object.expect_all_to_go();
    for packet in one_of_each(B) {
        assert_eq!(object.out(&packet, NEW), (GATEWAY, 5000));
    }
}

/// As long as one flow uses the port it stays its owner's.
#[test]
fn a_port_is_kept_until_its_last_flow_is_gone() {
    let mut object = Object::default();
    let (first, second) = (Packet::udp(A, S), Packet::udp(A, (SERVER2, 1)));
    object.out(&first, NEW);
    object.out(&second, NEW);
    for _ in 0..4 {
        object.let_pass(12);
        object.idle(&second, 0);
        object.reap_all();
    }
    assert_eq!(object.census().flows, 1);
    assert_ne!(object.out(&Packet::udp(B, S), NEW_PORT).1, 5000);
    object.expect_all_to_go();
}

#[test]
fn without_room_for_mappings_ports_are_shared() {
    let mut object = Object::sized(PLAIN, 64, 1);
    object.out(&Packet::udp(A, S), NEW);
    let other = Packet::udp((VM2, 6000), S);
    let external = object.begin(&other, &[PortsOverlapped]);
    assert_eq!(external.1, 6000);
    object.back(&other.answer(external), other.source());
    assert_eq!(object.census().mappings, 1);
    object.expect_all_to_go();
}

/// The mapping's own port may be taken toward one destination: by somebody who had to share it.
#[test]
fn an_endpoint_whose_port_is_taken_at_one_destination_still_reaches_it() {
    let mut object = Object::new(to_ports(50000, 50001));
    let at = |number: u8, destination| Packet::udp((Ipv4Addr::new(10, 0, 0, number), 50000), destination);
    let elsewhere = (SERVER2, 9000);
    object.out(&at(1, S), NEW);
    object.out(&at(2, S), NEW_PORT);
    // Two more share the two ports toward another server.
    for number in [3, 4] {
        object.begin(&at(number, elsewhere), &[PortsOverlapped]);
    }
    object.egress(&at(1, elsewhere)).dropped(natbpf_common::contract::counter::Counter::NoPort);
    assert_eq!(object.out(&at(1, S), &[]).1, 50000);
    object.expect_all_to_go();
}
