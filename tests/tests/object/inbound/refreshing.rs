//! RFC 4787 REQ-6.

use super::*;
use natbpf_common::contract::rules::RuleFlags;

/// How long the flow has been idle after an answer came; it was for five seconds.
fn after_an_answer(rule: Rule) -> u64 {
    let mut object = Object::new(rule);
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.idle(&packet, 5);
    object.back(&packet.answer(external), A);
    object.back(&packet.answer(external), A);
    object.idle_seconds(&key_of(&packet))
}

#[test]
fn what_comes_from_outside_keeps_a_flow_or_not() {
    assert_eq!(after_an_answer(PLAIN), 0);
    assert!(after_an_answer(Rule { flags: RuleFlags::OUTBOUND_REFRESH, ..PLAIN }) >= 5);
}

#[test]
fn a_flow_that_only_the_outside_uses_ends() {
    let mut object = Object::new(Rule { flags: RuleFlags::OUTBOUND_REFRESH, ..PLAIN });
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    for _ in 0..3 {
        // The entry of the reply direction asks once a second.
        object.idle_entry(&object.reply_key(&packet), 2);
        object.back(&packet.answer(external), A);
    }
    object.idle(&packet, 100);
    object.idle_entry(&object.reply_key(&packet), 2);
    object.ingress(&packet.answer(external)).untouched(&[]);
    // What the instance sends keeps it.
    assert_eq!(object.out(&packet, &[]), external);
    object.back(&packet.answer(external), A);
    assert_eq!(object.idle_seconds(&key_of(&packet)), 0);
}

#[test]
fn states_go_on_whoever_sends() {
    let mut object = Object::new(Rule { flags: RuleFlags::OUTBOUND_REFRESH, ..PLAIN });
    let packet = Packet::tcp(A, S, SYN);
    let external = object.out(&packet, NEW);
    object.back(&Packet::tcp(S, external, SYN | ACK), A);
    assert_eq!(object.state(&packet), State::TcpSynRecv);
    object.out(&Packet::tcp(A, S, ACK), &[]);
    object.back(&Packet::tcp(S, external, FIN | ACK), A);
    assert_eq!(object.state(&packet), State::TcpFinWait);
}
