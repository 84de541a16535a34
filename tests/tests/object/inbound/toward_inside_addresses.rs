//! As netfilter's NAT, which looks at the first packet of a connection alone.

use super::*;
use natbpf_common::flow::Traits;

#[test]
fn an_answer_is_not_masqueraded() {
    let mut object = Object::default();
    for (question, answer) in [
        (Packet::tcp(CLIENT, A, SYN), Packet::tcp(A, CLIENT, SYN | ACK)),
        (Packet::udp(CLIENT, A), Packet::udp(A, CLIENT)),
        (Packet::echo(SERVER, VM1, 9), Packet::icmp(VM1, SERVER, 0, 9)),
        (Packet::other(GRE, SERVER, VM1), Packet::other(GRE, VM1, SERVER)),
    ] {
        object.ingress(&question).untouched(&[]);
        assert_eq!(object.pending().len(), 1);
        let is_tcp = answer.ip.protocol.0 == TCP;
        let (first, second): (&[_], &[_]) =
            if is_tcp { (&[], &[FlowsInbound]) } else { (&[FlowsInbound], &[]) };
        object.egress(&answer).untouched(first);
        object.ingress(&question.flags(ACK)).untouched(second);
        assert_eq!(object.pending().len(), 0);
        object.egress(&answer).untouched(&[]);
        let mut key = key_of(&answer);
        if answer.ip.protocol.0 == 1 {
            // As the key of a reply has it.
            (key.source_port, key.destination_port) = (Port::new(8), Port::new(9));
        }
        assert!(object.entry(&key).is_some_and(|entry| entry.traits.intersects(Traits::UNTRANSLATED)));
    }
    assert_eq!(object.census().mappings, 0);
    object.expect_all_to_go();
}

#[test]
fn states_of_such_a_connection() {
    let mut object = Object::default();
    let (to, from) = (|flags| Packet::tcp(CLIENT, A, flags), |flags| Packet::tcp(A, CLIENT, flags));
    object.ingress(&to(SYN)).untouched(&[]);
    object.egress(&from(SYN | ACK)).untouched(&[]);
    object.ingress(&to(ACK)).untouched(&[FlowsInbound]);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpEstablished);
    object.egress(&from(FIN | ACK)).untouched(&[]);
    object.ingress(&to(FIN | ACK)).untouched(&[]);
    object.egress(&from(ACK)).untouched(&[]);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpTimeWait);
}

#[test]
fn when_its_time_is_over_the_instance_is_masqueraded_again() {
    let mut object = Object::default();
    let answer = Packet::udp(A, CLIENT);
    for end in [0, 1] {
        object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
        object.egress(&answer).untouched(&[FlowsInbound]);
        match end {
            0 => object.idle(&answer, 100),
            _ => assert_eq!(object.kill(&[key_of(&answer)]), 1),
        }
        assert_eq!(object.out(&answer, &[FlowsRemapped]), (GATEWAY, A.1));
        assert!(!object.flow(&answer).traits.intersects(Traits::UNTRANSLATED));
        object.back(&Packet::udp(CLIENT, (GATEWAY, A.1)), A);
        object.expect_all_to_go();
    }
    // A connection in mid-stream too; what begins none is dropped.
    object.ingress(&Packet::tcp(CLIENT, A, SYN)).untouched(&[]);
    object.egress(&Packet::tcp(A, CLIENT, SYN | ACK)).untouched(&[]);
    object.ingress(&Packet::tcp(CLIENT, A, ACK)).untouched(&[FlowsInbound]);
    object.idle(&Packet::tcp(A, CLIENT, TcpFlags::empty()), 100);
    object.egress(&Packet::tcp(A, CLIENT, SYN | ACK)).dropped(TcpNoFlow);
    object.out(&Packet::tcp(A, CLIENT, ACK), &[FlowsRemapped]);
    object.expect_all_to_go();
}

/// The instance began it, masqueraded: so it stays.
#[test]
fn a_running_flow_of_the_instance_is_not_turned_round() {
    let mut object = Object::default();
    let packet = Packet::udp(A, CLIENT);
    let external = object.out(&packet, NEW);
    for _ in 0..3 {
        object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
        assert_eq!(object.out(&packet, &[]), external);
        object.back(&packet.answer(external), A);
    }
    object.expect_all_to_go();
}

#[test]
fn only_of_what_would_be_masqueraded() {
    let mut object = Object::default();
    object.ingress(&Packet::udp(CLIENT, (Ipv4Addr::new(192, 0, 2, 7), 5))).untouched(&[]);
    object.set_rules(&[(LO, INSIDE, Rule { id: 1, ..PLAIN })], &[(1, "203.0.113.10/32")]);
    object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
    object.egress(&Packet::udp(A, CLIENT)).untouched(&[]);
    assert_eq!(object.pending().len(), 0);
    object.ingress(&Packet::udp(STRANGER, A)).untouched(&[]);
    object.egress(&Packet::udp(A, STRANGER)).untouched(&[FlowsInbound]);
    assert_eq!(object.census().flows, 1);
}

#[test]
fn what_begins_nothing_begins_nothing() {
    let mut object = Object::default();
    for packet in [
        Packet::tcp(CLIENT, A, RST),
        Packet::tcp(CLIENT, A, SYN | ACK),
        Packet::tcp(CLIENT, A, FIN | ACK),
        Packet::udp((SERVER, 0), A),
        Packet::icmp(SERVER, VM1, 0, 5),
        Packet::icmp(SERVER, VM1, 40, 5),
    ] {
        object.ingress(&packet).untouched(&[]);
    }
    assert_eq!((object.entries().len(), object.pending().len()), (0, 0));
}

/// With a rule for every source all that is said on the link would be a flow.
#[test]
fn broadcasts_and_multicasts_begin_nothing() {
    let mut object = Object::default();
    object.set_rules(&[(LO, "0.0.0.0/0", PLAIN)], &[]);
    for (mac, address) in [
        ([0xff; 6], Ipv4Addr::BROADCAST),
        ([0xff; 6], Ipv4Addr::new(203, 0, 113, 255)),
        ([1, 0, 0x5e, 0, 0, 0xfb], Ipv4Addr::new(224, 0, 0, 251)),
    ] {
        let mut frame = Packet::udp((SERVER, 5353), (address, 5353)).bytes();
        frame[..6].copy_from_slice(&mac);
        object.step(Hook::Ingress, &frame, Context::default()).untouched(&[]);
    }
    assert_eq!((object.entries().len(), object.pending().len()), (0, 0));
    object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
    assert_eq!(object.pending().len(), 1);
}
