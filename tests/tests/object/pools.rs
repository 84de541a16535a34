//! Pools of external addresses (RFC 4787 REQ-2).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use lab::object::{End, LO, NEW, Object, PLAIN, Packet, Step, ends, key_of};
use lab::{SERVER, SERVER2, VM1};
use natbpf_common::contract::counter::Counter::{FlowsInbound, FlowsRemapped, PortsOverlapped, Unsolicited};
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::{forwards::MAX_POOL, rules::Rule};
use natbpf_common::wire::protocol::GRE;
use natbpf_common::wire::segment::SYN;

use super::{A, S, one_of_each};

const POOLED: Rule = Rule { flags: RuleFlags::POOL, pool: 3, ..PLAIN };

fn addresses(count: u8) -> Vec<Ipv4Addr> {
    (100..100 + count).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect()
}

fn object(rule: Rule, count: u8) -> Object {
    let mut object = Object::new(rule);
    object.set_pool(rule.pool, &addresses(count));
    object
}

fn source(step: &Step) -> End {
    ends(&step.after).expect("an IPv4 packet").0
}

#[test]
fn a_source_has_one_address_for_everything() {
    let mut object = object(POOLED, 4);
    let step = object.egress(&Packet::echo(VM1, SERVER, 1));
    let (address, _) = source(&step);
    assert!(addresses(4).contains(&address), "{address}");
    step.translated(NEW);
    for packet in one_of_each(A) {
        let external = object.out_by(LO, address, &packet, NEW);
        object.back(&packet.answer(external), A);
    }
    for number in 0..50 {
        object.out_by(LO, address, &Packet::udp((VM1, 6000 + number), (SERVER2, number + 1)), NEW);
        object.out_by(LO, address, &Packet::tcp((VM1, 6000 + number), S, SYN), NEW);
    }
    object.out_by(LO, address, &Packet::other(GRE, VM1, SERVER), NEW);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn sources_are_spread_over_the_pool() {
    for count in [1, 2, 7, MAX_POOL as u8] {
        let mut object = object(POOLED, count);
        let mut used = BTreeSet::new();
        for number in 1..=250 {
            let packet = Packet::udp((Ipv4Addr::new(10, 0, 0, number), 5000), (SERVER, number.into()));
            let step = object.egress(&packet);
            let external = source(&step);
            assert!(addresses(count).contains(&external.0));
            assert_eq!(step.counted.get("egress_packets"), Some(&1));
            used.insert(external.0);
            object.back(&packet.answer(external), packet.source());
        }
        assert!(used.len() * 10 >= usize::from(count) * 9, "{} of {count}", used.len());
        object.census();
        object.expect_all_to_go();
    }
}

#[test]
fn another_secret_spreads_them_otherwise() {
    let mut object = object(POOLED, 64);
    let mut seen = BTreeSet::new();
    for secret in 0..8 {
        object.set_secret(secret);
        seen.insert(source(&object.egress(&Packet::udp((VM1, 7000 + secret as u16), S))).0);
    }
    assert!(seen.len() > 3, "{seen:?}");
}

/// Other sources have other addresses, so ports clash less.
#[test]
fn port_ranges_hold_for_each_address() {
    let rule =
        Rule { flags: RuleFlags::POOL | RuleFlags::PORTS, first_port: 50000, last_port: 50000, ..POOLED };
    let mut object = object(rule, 2);
    let mut endpoints = BTreeSet::new();
    for number in 1..=20 {
        let packet =
            Packet::udp((Ipv4Addr::new(10, 0, 0, number), 50000), (SERVER, 1000 + u16::from(number)));
        let step = object.egress(&packet);
        let external = source(&step);
        assert_eq!(external.1, 50000);
        let first = endpoints.insert(external);
        let shared = [NEW[0], PortsOverlapped];
        step.translated(if first { NEW } else { &shared });
    }
    assert_eq!(endpoints.len(), 2);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn what_nobody_asked_for_does_not_reach_the_stack() {
    let mut object = object(POOLED, 2);
    let packet = Packet::udp(A, S);
    let external = source(&object.egress(&packet));
    object.ingress(&Packet::udp((SERVER2, 9), external)).dropped(Unsolicited);
    object.ingress(&Packet::tcp(S, external, SYN)).dropped(Unsolicited);
    object.ingress(&Packet::echo(SERVER, external.0, 9)).dropped(Unsolicited);
    object.ingress(&Packet::icmp(SERVER, external.0, 0, 9)).dropped(Unsolicited);
    object.ingress(&Packet::icmp(SERVER, external.0, 99, 9)).dropped(Unsolicited);
    object.idle(&packet, 100);
    object.ingress(&packet.answer(external)).dropped(Unsolicited);
    object.kill(&[key_of(&packet)]);
    object.ingress(&packet.answer(external)).dropped(Unsolicited);
}

#[test]
fn open_mappings_of_a_pool() {
    let mut object = object(Rule { flags: RuleFlags::POOL | RuleFlags::OPEN, ..POOLED }, 5);
    let external = source(&object.egress(&Packet::udp(A, S)));
    let stranger = (SERVER2, 4);
    object.back(&Packet::udp(stranger, external), A);
    assert_eq!(object.out_by(LO, external.0, &Packet::udp(A, stranger), &[FlowsInbound]), external);
    object.census();
    object.expect_all_to_go();
}

/// User space ends the flows of an address that has gone; they begin again with one that is there.
#[test]
fn a_pool_that_changes() {
    let mut object = object(POOLED, 8);
    let packet = Packet::udp(A, S);
    let external = source(&object.egress(&packet));
    object.set_pool(POOLED.pool, &[Ipv4Addr::new(203, 0, 113, 200)]);
    object.out_by(LO, external.0, &packet, &[]);
    object.kill(&[key_of(&packet)]);
    object.out_by(LO, Ipv4Addr::new(203, 0, 113, 200), &packet, &[FlowsRemapped]);
    object.census();
    object.expect_all_to_go();
}

/// A packet may come between user space's look at a flow and its end: what was found of the old address is not true of
/// the new one, however short the time between.
#[test]
fn a_flow_that_has_another_address_than_when_it_was_seen_goes_on() {
    let mut object = object(POOLED, 8);
    let packet = Packet::udp(A, S);
    source(&object.egress(&packet));
    let seen = object.see(&key_of(&packet)).expect("the flow");
    let there = Ipv4Addr::new(203, 0, 113, 200);
    object.set_pool(POOLED.pool, &[there]);
    assert_eq!(object.kill_seen(&[seen]), 1);
    object.out_by(LO, there, &packet, &[FlowsRemapped]);
    assert_eq!(object.kill_seen(&[seen]), 0);
    object.out_by(LO, there, &packet, &[]);
}
