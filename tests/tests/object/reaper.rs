//! The reaper: a mark first, removal after the grace period, and nothing that lives.

use lab::object::{NEW, Object, PLAIN, Packet, TIMEOUT, key_of};
use lab::{GATEWAY, SERVER, VM1};
use natbpf::clock;
use natbpf_common::SECOND;
use natbpf_common::contract::counter::Counter::{Busy, HostReserved};
use natbpf_common::contract::rules::{Rule, RuleFlags};
use natbpf_common::flow::life::Life;
use natbpf_common::wire::segment::SYN;

use super::{A, B, S, one_of_each};

#[test]
fn what_lives_is_kept() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        object.out(&packet, NEW);
    }
    object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[HostReserved]);
    for _ in 0..3 {
        assert_eq!(object.reap_all(), 0);
        object.let_pass(3);
        // Each has had a packet since.
        for packet in one_of_each(A) {
            object.out(&packet, &[]);
            object.idle_entry(&key_of(&packet), 0);
        }
        object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[]);
    }
    assert_eq!(object.census().flows, 3);
}

#[test]
fn an_expired_flow_is_marked_and_removed_after_the_grace_period() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    let key = key_of(&packet);
    object.idle(&packet, TIMEOUT + 2);
    assert_eq!(object.reap(&[key]), 1);
    assert!(matches!(object.life(&key), Life::Dying(_)));
    assert_eq!(object.reap(&[key]), 0, "the mark has to stand first");
    object.let_pass(3);
    assert_eq!(object.reap(&[key]), 1);
    assert_eq!(object.entries().len(), 0);
    assert_eq!(object.census().mappings, 1, "the mapping has its own time");
    object.reap_all();
    assert_eq!(object.census().mappings, 1);
    object.let_pass(3);
    object.reap_all();
    assert_eq!(object.mappings().len(), 0);
}

#[test]
fn a_marked_flow_is_saved_by_a_packet_of_its_instance() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.idle(&packet, TIMEOUT + 2);
    object.reap_all();
    object.ingress(&packet.answer(external)).untouched(&[]);
    assert_eq!(object.out(&packet, &[]), external);
    object.back(&packet.answer(external), A);
    object.let_pass(3);
    assert_eq!(object.reap_all(), 0);
    assert_eq!(object.census().flows, 1);
}

#[test]
fn an_ended_flow_is_removed_after_the_grace_period() {
    let mut object = Object::default();
    let packet = Packet::tcp(A, S, SYN);
    object.out(&packet, NEW);
    assert_eq!(object.kill(&[key_of(&packet)]), 1);
    assert_eq!(object.reap_all(), 0);
    object.let_pass(3);
    object.reap_all();
    assert_eq!(object.census().flows, 0);
    assert_eq!(object.entries().len(), 0);
}

/// A lost race may leave one.
#[test]
fn a_reply_entry_without_its_flow_is_removed() {
    let mut object = Object::default();
    let (lost, kept) = (Packet::udp(A, S), Packet::udp(B, (SERVER, 9001)));
    object.out(&lost, NEW);
    object.begin(&kept, &[]);
    let orphan = object.reply_key(&lost);
    object.remove(&key_of(&lost));
    assert_eq!(object.reap(&[orphan]), 0, "it may be in the making");
    object.let_pass(3);
    object.ingress(&lost.answer((GATEWAY, 5000))).untouched(&[]);
    object.idle(&kept, 3);
    assert_eq!(object.reap_all(), 1);
    assert!(object.entry(&orphan).is_none());
    assert!(object.entry(&object.reply_key(&kept)).is_some());
}

#[test]
fn the_reply_entry_of_a_living_flow_stays_however_old() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    let reply = object.reply_key(&packet);
    object.idle_entry(&reply, 100 * TIMEOUT);
    assert_eq!(object.reap(&[reply]), 0);
    assert!(object.entry(&reply).is_some());
}

#[test]
fn a_reservation_of_the_host_goes_with_its_timeout() {
    let mut object = Object::default();
    object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[HostReserved]);
    object.let_pass(TIMEOUT - 1);
    assert_eq!(object.reap_all(), 0);
    object.let_pass(3);
    assert_eq!(object.reap_all(), 1);
    assert_eq!(object.entries().len(), 0);
}

/// More than one request has room for.
#[test]
fn hundreds_of_flows_at_once() {
    let mut object = Object::default();
    for port in 1..=450 {
        object.out(&Packet::udp((VM1, port), S), NEW);
    }
    object.let_pass(TIMEOUT + 2);
    let keys: Vec<_> = object.entries().iter().map(|(key, _)| *key).collect();
    assert_eq!(object.reap(&keys), 450);
    object.let_pass(3);
    object.reap(&keys);
    assert_eq!(object.entries().len(), 0);
    object.expect_all_to_go();
}

/// Answers do not renew the flow, and are repeated all the same until the kernel is asked.
#[test]
fn a_flow_whose_answers_are_repeated_stays() {
    let rule = Rule { flags: PLAIN.flags | RuleFlags::OUTBOUND_REFRESH, ..PLAIN };
    let mut object = Object::sized(rule, 8, 64);
    let packet = Packet::udp((VM1, 1), S);
    let external = object.out(&packet, NEW);
    object.back(&packet.answer(external), (VM1, 1));
    let (out, back) = (key_of(&packet), object.reply_key(&packet));
    object.set_timeouts(TIMEOUT);
    for _ in 0..3 {
        object.let_pass(TIMEOUT + 2);
        object.run_until(&back, clock::now() + SECOND);
        object.reap_all();
        assert!(object.entry(&out).is_some());
    }
    object.expect_all_to_go();
}

/// A flow as it was seen is longer than a key, so a request has room for fewer.
#[test]
fn hundreds_of_flows_are_ended_at_once() {
    let mut object = Object::default();
    let packets: Vec<_> = (1..=450).map(|port| Packet::udp((VM1, port), S)).collect();
    for packet in &packets {
        object.out(packet, NEW);
    }
    let keys: Vec<_> = packets.iter().map(key_of).collect();
    assert_eq!(object.kill(&keys), 450);
    assert!(keys.iter().all(|key| matches!(object.life(key), Life::Killed(_))));
    object.let_pass(3);
    object.reap_all();
    object.reap_all();
    assert_eq!(object.entries().len(), 0);
}

#[test]
fn keys_that_are_not_there_are_nothing() {
    let mut object = Object::default();
    let key = key_of(&Packet::udp(A, S));
    assert_eq!(object.reap(&[key, key.reversed()]), 0);
    assert_eq!(object.kill(&[key, key.reversed()]), 0);
}

/// An element of the table can be given to another key while a program holds a pointer to it.
#[test]
fn an_entry_with_another_keys_tag_is_not_used() {
    const TAG: u64 = 1 << 48;
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let (original, reply) = (key_of(&packet), object.reply_key(&packet));
    object.change(&reply, |entry| entry.rewrite ^= TAG);
    object.ingress(&packet.answer(external)).untouched(&[]);
    object.change(&reply, |entry| entry.rewrite ^= TAG);
    object.change(&original, |entry| entry.rewrite ^= TAG);
    object.egress(&packet).dropped(Busy);
    object.change(&original, |entry| entry.rewrite ^= TAG);
    object.back(&packet.answer(external), A);
    object.out(&packet, &[]);
}

/// While another processor gives the flow a new translation, or removes it, its packets wait for none.
#[test]
fn a_flow_in_change_is_left_alone() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    for life in [Life::Busy, Life::Gone] {
        object.change(&key_of(&packet), |entry| entry.life = life.to_word());
        object.egress(&packet).dropped(Busy);
        assert_eq!(object.reap(&[key_of(&packet)]), 0);
        assert_eq!(object.kill(&[key_of(&packet)]), 0);
        assert_eq!(object.life(&key_of(&packet)), life);
    }
}
