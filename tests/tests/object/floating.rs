//! Floating addresses: an external address that is an instance's alone, for every protocol and port, both ways.

use std::net::{Ipv4Addr, UdpSocket};

use lab::object::{End, LO, NEW, NEW_PORT, Object, PLAIN, Packet, floating, key_of};
use lab::{GATEWAY, INSIDE, SERVER, SERVER2, VM1, VM2};
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter::{FlowsInbound, Unsolicited};
use natbpf_common::contract::forwards::External;
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::flow::Traits;
use natbpf_common::wire::protocol::{DCCP, ESP, GRE, SCTP, UDPLITE};
use natbpf_common::wire::segment::{ACK, FIN, RST, SYN};

use super::{A, B, S, one_of_each};

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const STRANGER: End = (SERVER2, 1234);

/// The first instance has a floating address.
fn object() -> Object {
    let mut object = Object::default();
    object.float(FLOATING, VM1);
    object.set_rules(&[(LO, INSIDE, PLAIN), (LO, "10.0.0.11/32", floating(FLOATING))], &[]);
    object
}

#[test]
fn the_instance_leaves_by_it_and_the_others_do_not() {
    let mut object = object();
    for packet in one_of_each(A) {
        let external = object.out_by(LO, FLOATING, &packet, NEW);
        assert_eq!(external.1, packet.source().1);
        object.back(&packet.answer(external), A);
        assert!(object.flow(&packet).traits.intersects(Traits::FOREIGN_ADDRESS));
    }
    for packet in one_of_each(B) {
        object.out(&packet, NEW);
    }
    object.census();
    object.expect_all_to_go();
}

#[test]
fn every_port_is_the_instances() {
    let mut object = object();
    for port in [1, 22, 80, 511, 512, 1023, 1024, 40000, 65535] {
        for sent in [Packet::udp(STRANGER, (FLOATING, port)), Packet::tcp(STRANGER, (FLOATING, port), SYN)] {
            assert_eq!(object.meet(&sent, (VM1, port), &[]), (FLOATING, port));
        }
        assert_eq!(object.out_by(LO, FLOATING, &Packet::udp((VM1, port), S), NEW).1, port);
    }
    object.census();
    object.expect_all_to_go();
}

/// What others have of the same port by the gateway's address does not matter, nor do the host's sockets.
#[test]
fn every_port_is_kept() {
    let mut object = object();
    let _socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)).expect("a socket");
    object.out(&Packet::udp(B, S), NEW_PORT);
    object.out(&Packet::tcp(B, S, SYN), NEW);
    assert_eq!(object.out_by(LO, FLOATING, &Packet::udp(A, S), NEW).1, 5000);
    assert_eq!(object.out_by(LO, FLOATING, &Packet::tcp(A, S, SYN), NEW).1, 5000);
    object.meet(&Packet::udp(STRANGER, (FLOATING, 5000)), A, &[]);
}

#[test]
fn queries_both_ways() {
    let mut object = object();
    for (request, reply) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
        let asked = Packet::icmp(SERVER, FLOATING, request, 70).payload([1; 12]);
        object.back(&asked, (VM1, 70));
        let answer = Packet::icmp(VM1, SERVER, reply, 70).payload([2; 12]);
        assert_eq!(object.out_by(LO, FLOATING, &answer, &[FlowsInbound]), (FLOATING, 70));
        object.back(&asked, (VM1, 70));
        let query = Packet::icmp(VM1, SERVER, request, 71).payload([3; 12]);
        object.out_by(LO, FLOATING, &query, NEW);
        object.back(&query.answer((FLOATING, 71)).payload([4; 12]), (VM1, 71));
    }
    object.census();
    object.expect_all_to_go();
}

#[test]
fn protocols_without_ports_both_ways() {
    let mut object = object();
    for protocol in [GRE, ESP, SCTP, DCCP, UDPLITE, 4, 41, 200] {
        object.back(&Packet::other(protocol, SERVER, FLOATING), (VM1, 0));
        object.out_by(LO, FLOATING, &Packet::other(protocol, VM1, SERVER), &[FlowsInbound]);
        object.out_by(LO, FLOATING, &Packet::other(protocol, VM1, SERVER2), NEW);
        object.back(&Packet::other(protocol, SERVER2, FLOATING), (VM1, 0));
        // The gateway's address has its own.
        object.out(&Packet::other(protocol, VM2, SERVER), NEW);
    }
    object.census();
    object.expect_all_to_go();
}

/// The host does not have the address: its stack would send them back to the outside.
#[test]
fn what_nobody_wants_does_not_reach_the_stack() {
    let mut object = object();
    for packet in [
        Packet::icmp(SERVER, FLOATING, 0, 5),
        Packet::icmp(SERVER, FLOATING, 14, 5),
        Packet::icmp(SERVER, FLOATING, 40, 5),
        Packet::icmp_error(SERVER, FLOATING, 3, 1, 0, &Packet::udp((FLOATING, 9), S).ip_bytes()),
        Packet::udp((SERVER, 0), (FLOATING, 9)),
    ] {
        object.ingress(&packet).dropped(Unsolicited);
    }
    // Nor do they begin a flow that the instance could answer.
    assert_eq!((object.entries().len(), object.pending().len()), (0, 0));
    let mut frame = Packet::tcp(STRANGER, (FLOATING, 80), SYN).bytes();
    frame[14 + 20 + 12] = 0;
    object
        .step(natbpf::datapath::Hook::Ingress, &frame, lab::object::Context::default())
        .dropped(Unsolicited);
}

#[test]
fn an_address_that_leads_nowhere_yet() {
    let mut object = Object::default();
    let address = Ipv4Addr::new(203, 0, 113, 51);
    object.answer_for(address);
    object.set_flags(natbpf_common::contract::uplinks::UplinkFlags::SERVES);
    for packet in [
        Packet::udp(STRANGER, (address, 5)),
        Packet::tcp(STRANGER, (address, 5), SYN),
        Packet::tcp(STRANGER, (address, 5), ACK),
        Packet::echo(SERVER, address, 5),
        Packet::other(GRE, SERVER, address),
    ] {
        object.ingress(&packet).dropped(Unsolicited);
    }
    // One that the host has is the host's.
    object.set_external(
        address,
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: [0; 6], reserved: [0; 2] },
    );
    object.ingress(&Packet::udp(STRANGER, (address, 5))).untouched(&[]);
    object.ingress(&Packet::icmp(SERVER, address, 0, 5)).untouched(&[]);
}

#[test]
fn connections_that_begin_with_nothing() {
    let mut object = object();
    for flags in [RST, SYN | ACK, FIN | ACK] {
        object
            .ingress(&Packet::tcp(STRANGER, (FLOATING, 80), flags))
            .dropped(natbpf_common::contract::counter::Counter::TcpNoFlow);
    }
    object.back(&Packet::tcp(STRANGER, (FLOATING, 80), ACK), (VM1, 80));
    object.out_by(LO, FLOATING, &Packet::tcp((VM1, 80), STRANGER, ACK), &[]);
    object.enter(&Packet::tcp(STRANGER, (FLOATING, 80), ACK), (VM1, 80), &[FlowsInbound]);
}

/// Its flows go on by the address that they have; the next ones leave by the new one.
#[test]
fn an_instance_that_gets_one_and_loses_it() {
    let mut object = Object::default();
    let before = Packet::udp(A, S);
    object.out(&before, NEW);
    object.float(FLOATING, VM1);
    object.set_rules(&[(LO, INSIDE, PLAIN), (LO, "10.0.0.11/32", floating(FLOATING))], &[]);
    object.out(&before, &[]);
    let during = Packet::udp(A, (SERVER2, 9000));
    object.out_by(LO, FLOATING, &during, NEW);
    object.set_rules(&[(LO, INSIDE, PLAIN)], &[]);
    object.out_by(LO, FLOATING, &during, &[]);
    // User space ends those.
    object.kill(&[key_of(&during)]);
    object.out(&during, &[natbpf_common::contract::counter::Counter::FlowsRemapped]);
    object.census();
    object.expect_all_to_go();
}

/// A flow that began by the gateway's address has the inside tuple: its peer comes by the floating one as if
/// by another port.
#[test]
fn one_inside_tuple_is_one_flow() {
    let mut object = Object::default();
    object.out(&Packet::udp(A, S), NEW);
    object.float(FLOATING, VM1);
    object.set_rules(&[(LO, INSIDE, PLAIN), (LO, "10.0.0.11/32", floating(FLOATING))], &[]);
    let asked = Packet::udp(S, (FLOATING, 5000));
    let after = object.ingress(&asked).translated(&[]);
    let (seen, _) = lab::object::ends(&after).expect("an IPv4 packet");
    assert!(seen.0 == S.0 && seen.1 != S.1, "{seen:?}");
    assert_eq!(after, asked.with_source(seen).with_destination(A).bytes());
    let answered = object.egress(&Packet::udp(A, seen)).translated(&[FlowsInbound]);
    assert_eq!(answered, Packet::udp((FLOATING, 5000), S).bytes());
    object.back(&Packet::udp(S, (GATEWAY, 5000)), A);
    // What has no ports cannot be told apart.
    object.out(&Packet::other(GRE, VM2, SERVER), NEW);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn the_rule_says_it() {
    let rule = floating(FLOATING);
    assert!(rule.has(RuleFlags::FIXED) && !rule.has(RuleFlags::POOL));
    assert_eq!(rule.traits(), Traits::FOREIGN_ADDRESS);
}
