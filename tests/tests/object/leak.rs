//! The leak rule: what cannot be translated does not leave, and is counted under its one reason.

use lab::object::{Body, Context, NEW, Object, Packet};
use lab::{SERVER, VM1};
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::Counter;
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN, TcpFlags, URG};

use super::{A, S, one_of_each};

/// Offset of the IPv4 header, and of what follows it.
const IP: usize = 14;
const TRANSPORT: usize = IP + 20;

/// Sets of flags that no TCP sends (`tcp_valid_flags` of the kernel).
const NO_TCP_SENDS: [TcpFlags; 8] = [
    TcpFlags::empty(),
    FIN,
    SYN.union(FIN),
    SYN.union(RST),
    PSH,
    URG,
    TcpFlags::from_bits_retain(0x3f),
    FIN.union(PSH).union(URG),
];

/// Runs a frame with bytes changed; it has to be dropped for this reason.
#[track_caller]
fn refuse(object: &mut Object, packet: &Packet, changes: &[(usize, u8)], reason: Counter) {
    let mut frame = packet.bytes();
    for (offset, value) in changes {
        frame[*offset] = *value;
    }
    object.step(Hook::Egress, &frame, Context::default()).dropped(reason);
}

#[test]
fn ipv4_headers_that_contradict_themselves() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        // Version 6, version 0; header lengths of 0 and 16 bytes, and of more than the packet has.
        for first in [0x65, 0x05, 0x40, 0x44] {
            refuse(&mut object, &packet, &[(IP, first)], Counter::Malformed);
        }
        refuse(&mut object, &packet.clone().payload([]), &[(IP, 0x4f)], Counter::Malformed);
        // A total length of more than there is, of less than the header, of nothing.
        for total in [[0xff, 0xff], [0, 19], [0, 0]] {
            refuse(&mut object, &packet, &[(IP + 2, total[0]), (IP + 3, total[1])], Counter::Malformed);
        }
    }
}

#[test]
fn transport_headers_that_contradict_themselves() {
    let mut object = Object::default();
    let [tcp, udp, echo] = one_of_each(A);
    // TCP's data offset: less than a header, more than the packet.
    for offset in [0x00, 0x40, 0xf0] {
        refuse(&mut object, &tcp, &[(TRANSPORT + 12, offset)], Counter::Malformed);
    }
    // UDP's length: less than a header, more than the packet.
    for length in [[0, 0], [0, 7], [0xff, 0xff]] {
        refuse(
            &mut object,
            &udp,
            &[(TRANSPORT + 4, length[0]), (TRANSPORT + 5, length[1])],
            Counter::Malformed,
        );
    }
    // A total length that cuts the transport header off.
    for (packet, header) in [(&tcp, 20), (&udp, 8), (&echo, 8)] {
        for total in [20, 20 + header - 1] {
            refuse(&mut object, packet, &[(IP + 2, 0), (IP + 3, total)], Counter::Malformed);
        }
    }
    assert_eq!(object.entries().len(), 0);
}

#[test]
fn packets_cut_short() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        let bytes = packet.bytes();
        for length in IP + 1..bytes.len() {
            let Some(step) = object.try_step(Hook::Egress, &bytes[..length], Context::default()) else {
                continue;
            };
            step.dropped(Counter::Malformed);
        }
    }
}

/// Headers that end exactly where the packet ends.
#[test]
fn packets_of_headers_alone_are_no_nonsense() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        object.out(&packet.payload([]), NEW);
    }
}

#[test]
fn icmp_errors() {
    let mut object = Object::default();
    let quoted = Packet::udp(S, A).bytes()[IP..].to_vec();
    for (kinds, reason) in [
        (&[3, 4, 5, 11, 12][..], Counter::IcmpError),
        (&[1, 2, 6, 7, 9, 10, 19, 30, 40, 200, 255], Counter::IcmpOther),
    ] {
        for kind in kinds {
            object.egress(&Packet::icmp(VM1, SERVER, *kind, 0).payload(quoted.clone())).dropped(reason);
        }
    }
}

#[test]
fn icmp_replies_that_nobody_asked_for() {
    let mut object = Object::default();
    for kind in [0, 14, 16, 18] {
        object.egress(&Packet::icmp(VM1, SERVER, kind, 5).payload([0; 12])).dropped(Counter::IcmpUnexpected);
    }
    // A query that went the other way changes nothing.
    object.ingress(&Packet::echo(SERVER, lab::GATEWAY, 5)).untouched(&[]);
    object.egress(&Packet::icmp(VM1, SERVER, 0, 5)).dropped(Counter::IcmpUnexpected);
}

#[test]
fn tcp_that_begins_no_connection() {
    let mut object = Object::default();
    for flags in [RST, RST | ACK, SYN | ACK, FIN | ACK] {
        object.egress(&Packet::tcp(A, S, flags)).dropped(Counter::TcpNoFlow);
    }
    for flags in NO_TCP_SENDS {
        object.egress(&Packet::tcp(A, S, flags)).dropped(Counter::Malformed);
    }
    assert_eq!(object.entries().len(), 0);
    // In mid-stream a plain ACK begins one: the gateway may have been restarted.
    object.out(&Packet::tcp(A, S, ACK | PSH), NEW);
}

/// In a running connection the ends decide what is valid, of what a TCP would send at all.
#[test]
fn odd_flags_in_a_connection() {
    let mut object = Object::default();
    object.out(&Packet::tcp(A, S, SYN), NEW);
    for flags in [SYN | ACK, FIN | ACK, FIN | ACK | URG, SYN | URG, RST] {
        object.out(&Packet::tcp(A, S, flags), &[]);
    }
    for flags in NO_TCP_SENDS {
        object.egress(&Packet::tcp(A, S, flags)).dropped(Counter::Malformed);
    }
}

#[test]
fn reserved_ports_of_zero_are_translated_or_dropped() {
    let mut object = Object::default();
    for packet in [Packet::udp((VM1, 0), S), Packet::tcp((VM1, 0), S, SYN), Packet::udp(A, (SERVER, 0))] {
        let step = object.egress(&packet);
        let leaked = step.verdict == lab::object::Verdict::Pass
            && lab::object::ends(&step.after).is_none_or(|(source, _)| source.0 == VM1);
        assert!(!leaked);
    }
}

#[test]
fn every_protocol_number() {
    let mut object = Object::sized(lab::object::PLAIN, 2048, 1024);
    for protocol in 0..=255 {
        if matches!(protocol, 1 | 6 | 17) {
            continue;
        }
        object.out(&Packet::other(protocol, VM1, SERVER), NEW);
    }
}

/// A segment whose length says more than its header is believed only as far as the packet goes.
#[test]
fn tcp_options_up_to_the_end() {
    let mut object = Object::default();
    let mut packet = Packet::tcp(A, S, SYN).payload([]);
    if let Body::Tcp(header) = &mut packet.body {
        header.set_options_raw(&[1; 40]).expect("40 bytes of options");
    }
    object.out(&packet, NEW);
}
