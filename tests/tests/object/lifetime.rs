//! When a flow is over, and what packets do to its time. Time is moved by changing the entries, so no test waits.

use lab::GATEWAY;
use lab::object::{NEW, Object, Packet, TIMEOUT, key_of};
use natbpf_common::contract::counter::Counter::{FlowsRemapped, TcpNoFlow};
use natbpf_common::flow::life::Life;
use natbpf_common::flow::state::State;
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN};
use natbpf_common::{SECOND, flow::Status, time::Moment};

use super::{A, S, one_of_each};

/// A connection past its handshake; what was sent, and as whom.
fn established(object: &mut Object) -> (Packet, Packet) {
    let syn = Packet::tcp(A, S, SYN);
    let external = object.out(&syn, NEW);
    object.back(&Packet::tcp(S, external, SYN | ACK), A);
    object.out(&Packet::tcp(A, S, ACK), &[]);
    assert_eq!(object.state(&syn), State::TcpEstablished);
    (Packet::tcp(A, S, ACK | PSH), Packet::tcp(S, external, ACK | PSH))
}

#[test]
fn an_expired_flow_takes_no_replies() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        let external = object.out(&packet, NEW);
        let answer = packet.answer(external).flags(SYN | ACK);
        object.back(&answer, A);
        object.idle(&packet, TIMEOUT + 2);
        object.ingress(&answer).untouched(&[]);
    }
}

/// The stamp may be a second older than the last packet.
#[test]
fn no_flow_expires_before_its_timeout_and_a_second() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.idle(&packet, TIMEOUT);
    object.back(&packet.answer(external), A);
    assert_eq!(object.reap_all(), 0);
}

#[test]
fn an_expired_flow_starts_anew_with_the_same_port() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.back(&packet.answer(external), A);
    object.idle(&packet, TIMEOUT + 2);
    assert_eq!(object.out(&packet, &[]), external);
    assert!(!Status::from_word(object.flow(&packet).status).seen_reply(), "what it had seen is forgotten");
    object.back(&packet.answer(external), A);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}

#[test]
fn an_expired_connection_is_picked_up_by_data() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    object.idle(&there, TIMEOUT + 2);
    object.ingress(&back).untouched(&[]);
    object.out(&there, &[]);
    assert_eq!(object.state(&there), State::TcpSynRecv);
    object.back(&back, A);
    object.out(&there, &[]);
    assert_eq!(object.state(&there), State::TcpEstablished);
}

#[test]
fn an_expired_connection_is_not_picked_up_by_its_end() {
    let mut object = Object::default();
    let (there, _) = established(&mut object);
    object.idle(&there, TIMEOUT + 2);
    for flags in [FIN | ACK, RST, SYN | ACK] {
        object.egress(&Packet::tcp(A, S, flags)).dropped(TcpNoFlow);
    }
    object.out(&Packet::tcp(A, S, SYN), &[]);
    assert_eq!(object.state(&there), State::TcpSynSent);
}

#[test]
fn packets_of_both_directions_renew() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    for packet in [&there, &back] {
        object.idle(&there, 5);
        if packet == &there {
            object.out(packet, &[]);
        } else {
            object.back(packet, A);
        }
        assert_eq!(object.idle_seconds(&key_of(&there)), 0);
    }
}

/// The entry of the reply direction is a copy that packets of the original direction do not renew.
#[test]
fn a_stale_copy_asks_the_original() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let reply = object.reply_key(&packet);
    object.idle_entry(&reply, 100 * TIMEOUT);
    object.back(&packet.answer(external), A);
    assert_eq!(object.idle_seconds(&reply), 0);
}

/// RFC 7857 section 2.2, and RFC 5382: neither a repeated SYN nor a repeated RST keeps a flow.
#[test]
fn repeated_syn_and_rst_do_not_renew() {
    let mut object = Object::default();
    let syn = Packet::tcp(A, S, SYN);
    object.out(&syn, NEW);
    object.idle(&syn, 5);
    object.out(&syn, &[]);
    assert_eq!(object.idle_seconds(&key_of(&syn)), 5);
    object.out(&Packet::tcp(A, S, RST), &[]);
    assert_eq!(object.state(&syn), State::TcpClose);
    object.idle(&syn, 5);
    object.out(&Packet::tcp(A, S, RST), &[]);
    assert_eq!(object.idle_seconds(&key_of(&syn)), 5);
}

/// It may be forged: data after it has the connection back.
#[test]
fn a_reset_from_outside_does_not_cut_a_connection() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    object.back(&back.clone().flags(RST), A);
    assert_eq!(object.state(&there), State::TcpClose);
    object.out(&there, &[]);
    assert_eq!(object.state(&there), State::TcpEstablished);
    object.back(&back, A);
}

#[test]
fn a_syn_in_a_running_connection_changes_nothing() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    object.out(&Packet::tcp(A, S, SYN), &[]);
    object.back(&back.clone().flags(SYN), A);
    assert_eq!(object.state(&there), State::TcpEstablished);
    object.back(&back, A);
}

#[test]
fn a_connection_can_be_opened_again_on_the_tuple_of_a_closed_one() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    object.out(&there.clone().flags(FIN | ACK), &[]);
    object.back(&back.clone().flags(FIN | ACK), A);
    object.out(&there.clone().flags(ACK), &[]);
    assert_eq!(object.state(&there), State::TcpTimeWait);
    object.out(&there.clone().flags(SYN), &[]);
    assert_eq!(object.state(&there), State::TcpSynSent);
    object.back(&back.flags(SYN | ACK), A);
    assert_eq!(object.census().flows, 1);
}

#[test]
fn both_entries_have_the_status() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    let same = |object: &Object| {
        let reply = object.entry(&object.reply_key(&there)).expect("the reply direction");
        assert_eq!(reply.status, object.flow(&there).status);
    };
    same(&object);
    object.out(&there.clone().flags(FIN | ACK), &[]);
    same(&object);
    object.back(&back.flags(FIN | ACK), A);
    same(&object);
    object.idle(&there, TIMEOUT + 2);
    object.out(&there, &[]);
    same(&object);
}

#[test]
fn udp_becomes_a_stream_by_traffic_after_two_seconds() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.back(&packet.answer(external), A);
    object.out(&packet, &[]);
    assert_eq!(object.state(&packet), State::UdpUnreplied);
    let created = Moment::of(object.flow(&packet).created.time() - 3 * SECOND);
    for key in [key_of(&packet), object.reply_key(&packet)] {
        object.change(&key, |entry| entry.created = created);
    }
    object.out(&packet, &[]);
    assert_eq!(object.state(&packet), State::UdpStream);
    assert!(Status::from_word(object.flow(&packet).status).assured());
}

#[test]
fn an_ended_flow_takes_no_replies_and_gets_a_new_translation() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        let external = object.out(&packet, NEW);
        let answer = packet.answer(external).flags(SYN | ACK);
        object.back(&answer, A);
        assert_eq!(object.kill(&[key_of(&packet)]), 1);
        object.ingress(&answer).untouched(&[]);
        assert_eq!(object.kill(&[key_of(&packet)]), 0, "it has ended already");
        assert_eq!(object.out(&packet, &[FlowsRemapped]), external);
        object.back(&answer, A);
    }
    assert_eq!(object.census().flows, 3);
    object.expect_all_to_go();
}

#[test]
fn an_ended_connection_is_not_translated_anew_by_its_end() {
    let mut object = Object::default();
    let (there, back) = established(&mut object);
    object.kill(&[key_of(&there)]);
    object.egress(&there.clone().flags(FIN | ACK)).dropped(TcpNoFlow);
    object.egress(&there.clone().flags(RST)).dropped(TcpNoFlow);
    object.ingress(&back).untouched(&[]);
    assert!(matches!(object.life(&key_of(&there)), Life::Killed(_)));
    assert_eq!(object.out(&there, &[FlowsRemapped]), (GATEWAY, 5000));
}
