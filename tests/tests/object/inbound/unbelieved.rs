//! What a stranger, or somebody in the stranger's name, says of itself is not believed.

use natbpf_common::IfIndex;
use natbpf_common::contract::forwards::{External, ExternalFlags};

use super::*;

fn syn() -> Packet {
    Packet::tcp(CLIENT, FORWARDED, SYN)
}

/// The service's segment.
fn service(flags: TcpFlags) -> Packet {
    Packet::tcp(SERVICE, CLIENT, flags)
}

#[test]
fn a_refusal_is_no_answer() {
    let mut object = forwarding();
    object.back(&syn(), SERVICE);
    object.leave(&service(RST | ACK), &[]);
    object.back(&syn().flags(ACK), SERVICE);
    assert_eq!(object.entries().len(), 0);
    // Toward an instance's own address, where the gateway refuses in its name.
    let to_instance = Packet::tcp(CLIENT, A, SYN);
    object.ingress(&to_instance).untouched(&[]);
    object.egress(&Packet::tcp(A, CLIENT, RST | ACK)).untouched(&[]);
    object.ingress(&to_instance.flags(ACK)).untouched(&[]);
    assert_eq!(object.entries().len(), 0);
}

#[test]
fn a_connection_begins_with_who_has_seen_the_answer() {
    let mut object = forwarding();
    object.back(&syn(), SERVICE);
    object.leave(&service(SYN | ACK).numbers(u32::MAX, 0x0102_0305), &[]);
    for guess in [u32::MAX, 0x8000_0000, 70_000] {
        object.back(&syn().flags(ACK).numbers(0x0102_0305, guess), SERVICE);
        assert_eq!(object.entries().len(), 0, "{guess:#x} acknowledges nothing");
    }
    object.enter(&syn().flags(ACK).numbers(0x0102_0305, 1), SERVICE, &[FlowsInbound]);
    assert_eq!(object.state(&service(TcpFlags::empty())), State::TcpEstablished);
    // One that began before natbpf came has no such number.
    let running = Packet::tcp(HIS_OTHER, FORWARDED, ACK);
    object.back(&running, SERVICE);
    object.leave(&Packet::tcp(SERVICE, HIS_OTHER, ACK), &[]);
    object.enter(&running.numbers(7, 7_000_000), SERVICE, &[FlowsInbound]);
    object.census();
    object.expect_all_to_go();
}

/// An object whose source may have so many flows.
fn limited(max_flows: u32) -> Object {
    let mut object = Object::new(Rule { max_flows, ..PLAIN });
    object.forward(TCP, FORWARDED.1, SERVICE);
    object.forward(UDP, FORWARDED.1, SERVICE);
    object
}

/// What strangers begin takes nothing from the instance, and where their share is used up, the service goes on.
#[test]
fn visitors_use_up_no_share_and_are_answered_beyond_theirs() {
    let mut object = limited(2);
    for port in 1..=2 {
        object.meet(&Packet::udp((SERVER2, port), FORWARDED), SERVICE, &[]);
    }
    for round in 0..3 {
        for port in 3..=5 {
            let visitor = Packet::udp((SERVER2, port), FORWARDED);
            object.back(&visitor, SERVICE);
            assert_eq!(object.leave(&Packet::udp(SERVICE, (SERVER2, port)), &[]), FORWARDED, "round {round}");
        }
        object.back(&syn(), SERVICE);
        assert_eq!(object.leave(&service(SYN | ACK), &[]), FORWARDED);
        object.back(&syn().flags(ACK), SERVICE);
        assert_eq!(object.leave(&service(ACK | PSH), &[]), FORWARDED);
    }
    assert_eq!(object.census().flows, 2);
    // Its own flows have an account of their own.
    for port in 1..=2 {
        object.out(&Packet::udp((VM1, port), S), NEW);
    }
    object.egress(&Packet::udp((VM1, 3), S)).dropped(Quota);
    assert_eq!(object.census().flows, 4);
    object.expect_all_to_go();
}

/// A neighbour sends in a client's name to the instance's own address, and nobody answers.
#[test]
fn what_a_rule_lets_in_displaces_what_none_did() {
    let mut object = Object::default();
    object.float(Ipv4Addr::new(203, 0, 113, 50), VM1);
    let floating = |packet: Packet| packet.with_destination((Ipv4Addr::new(203, 0, 113, 50), 0));
    object.ingress(&Packet::other(GRE, SERVER, VM1)).untouched(&[]);
    let asked = floating(Packet::other(GRE, SERVER, GATEWAY));
    object.back(&asked, (VM1, 0));
    let address = object.leave(&Packet::other(GRE, VM1, SERVER), &[FlowsInbound]).0;
    assert_eq!(address, Ipv4Addr::new(203, 0, 113, 50));
    // Not where it was answered.
    object.ingress(&Packet::other(GRE, SERVER2, VM1)).untouched(&[]);
    object.egress(&Packet::other(GRE, VM1, SERVER2)).untouched(&[FlowsInbound]);
    object.ingress(&floating(Packet::other(GRE, SERVER2, GATEWAY))).dropped(NoPort);
}

#[test]
fn nobody_outside_has_an_address_of_ours() {
    let mut object = Object::default();
    object.ingress(&Packet::udp((GATEWAY, 53), A)).untouched(&[]);
    object.set_external(
        SERVER2,
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: [0; 6], reserved: [0; 2] },
    );
    object.ingress(&Packet::udp((SERVER2, 53), A)).untouched(&[]);
    assert_eq!(object.pending().len(), 0);
}

/// A stranger that asks again and again is answered when the service is there at last.
#[test]
fn a_stranger_who_asks_again_is_remembered() {
    let mut object = forwarding();
    for _ in 0..3 {
        object.back(&syn(), SERVICE);
        object.let_pass(20);
    }
    assert_eq!(object.leave(&service(SYN | ACK), &[]), FORWARDED);
}

/// The client comes again when the flow's time is over, and nobody has taken that out.
#[test]
fn a_client_comes_again_to_a_flow_that_is_over() {
    let mut object = forwarding();
    object.meet(&syn(), SERVICE, &[]);
    object.idle(&service(TcpFlags::empty()), TIMEOUT + 2);
    object.back(&syn(), SERVICE);
    assert_eq!(object.leave(&service(SYN | ACK), &[]), FORWARDED);
    object.enter(&syn().flags(ACK), SERVICE, &[FlowsInbound]);
    object.census();
    object.expect_all_to_go();
}
