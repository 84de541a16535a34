//! What a translation changes in a packet, and that the reply undoes it. The comparison with a full recomputation is in
//! [`Object::out`] and [`Object::back`].

use lab::object::{Body, CUSTOMER_TAG, Context, NEW, Object, PROVIDER_TAG, Packet, ends};
use lab::{GATEWAY, SERVER, VM1};
use natbpf::datapath::Hook;
use natbpf_common::flow::state::State;
use natbpf_common::wire::protocol::icmp::{ECHO_REQUEST, INFO_REQUEST, MASK_REQUEST, TIMESTAMP};
use natbpf_common::wire::segment::{ACK, FIN, PSH, SYN, TcpFlags};

use super::{A, S, one_of_each};

#[test]
fn udp_there_and_back() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    assert_eq!(external, (GATEWAY, 5000));
    object.back(&packet.answer(external), A);
    object.out(&packet, &[]);
}

#[test]
fn tcp_from_handshake_to_close() {
    let mut object = Object::default();
    let syn = Packet::tcp(A, S, SYN).payload([]);
    let external = object.out(&syn, NEW);
    assert_eq!(object.state(&syn), State::TcpSynSent);
    let steps = [
        (false, SYN | ACK, State::TcpSynRecv),
        (true, ACK, State::TcpEstablished),
        (true, ACK | PSH, State::TcpEstablished),
        (false, ACK | PSH, State::TcpEstablished),
        (true, FIN | ACK, State::TcpFinWait),
        (false, ACK, State::TcpCloseWait),
        (false, FIN | ACK, State::TcpLastAck),
        (true, ACK, State::TcpTimeWait),
    ];
    for (outward, flags, state) in steps {
        if outward {
            assert_eq!(object.out(&Packet::tcp(A, S, flags), &[]), external);
        } else {
            object.back(&Packet::tcp(S, external, flags), A);
        }
        assert_eq!(object.state(&syn), state);
    }
}

#[test]
fn icmp_queries_of_every_type() {
    let mut object = Object::default();
    for kind in [ECHO_REQUEST, TIMESTAMP, INFO_REQUEST, MASK_REQUEST] {
        let query = Packet::icmp(VM1, SERVER, kind, 7).payload([0; 12]);
        let external = object.out(&query, NEW);
        assert_eq!(external, (GATEWAY, 7));
        object.back(&query.answer(external), (VM1, 7));
    }
    assert_eq!(object.census().flows, 4);
}

/// What comes back of a packet that went out and in again is the packet, but for its ends.
#[test]
fn a_round_trip_restores_every_byte() {
    let mut object = Object::default();
    for packet in one_of_each(A) {
        let there = object.egress(&packet).translated(NEW);
        // The outside returns it as a mirror does.
        let (source, _) = ends(&there).expect("an IPv4 packet");
        let mirrored = packet.answer(source).payload(packet.payload.clone());
        let back = object.ingress(&mirrored).translated(&[]);
        assert_eq!(back, mirrored.with_destination(A).bytes());
    }
}

#[test]
fn payloads_of_any_length() {
    let mut object = Object::default();
    for length in [0, 1, 2, 3, 7, 8, 511, 1400] {
        for (number, packet) in one_of_each((VM1, 6000 + length)).into_iter().enumerate() {
            let packet = packet.payload(vec![number as u8 + 0xa5; length.into()]);
            let external = object.out(&packet, NEW);
            object.back(&packet.answer(external).payload(vec![0x5a; length.into()]), packet.source());
        }
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S).without_sum();
    let external = object.out(&packet, NEW);
    object.back(&packet.answer(external), A);
}

/// RFC 768: a checksum that comes out as zero is sent as all ones, since zero says that there is none.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    const CHECKSUM: usize = 14 + 20 + 6;
    let becomes_zero = |translated: &Packet| translated.bytes()[CHECKSUM..CHECKSUM + 2] == [0xff, 0xff];
    let with_payload = |packet: &Packet, word: u16| packet.clone().payload(word.to_be_bytes());
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let there = (0..=u16::MAX)
        .map(|word| with_payload(&packet, word))
        .find(|packet| becomes_zero(&packet.clone().with_source((GATEWAY, A.1))));
    let external = object.out(&there.expect("some payload gives this sum"), NEW);
    let answer = packet.answer(external);
    let back = (0..=u16::MAX)
        .map(|word| with_payload(&answer, word))
        .find(|packet| becomes_zero(&packet.clone().with_destination(A)));
    object.back(&back.expect("some payload gives this sum"), A);
}

#[test]
fn ip_options_of_every_length() {
    let mut object = Object::default();
    for words in 1..=10 {
        for packet in one_of_each((VM1, 7000 + words)) {
            let packet = packet.options(words.into());
            let external = object.out(&packet, NEW);
            object.back(&packet.answer(external), packet.source());
        }
    }
}

#[test]
fn tags_in_the_frame() {
    let mut object = Object::default();
    let tags =
        [&[CUSTOMER_TAG][..], &[PROVIDER_TAG], &[PROVIDER_TAG, CUSTOMER_TAG], &[CUSTOMER_TAG, CUSTOMER_TAG]];
    for (number, tags) in tags.into_iter().enumerate() {
        for packet in one_of_each((VM1, 8000 + number as u16)) {
            let packet = packet.tags(tags).options(number);
            let external = object.out(&packet, NEW);
            object.back(&packet.answer(external), packet.source());
        }
    }
}

/// Ethernet pads frames to 60 bytes.
#[test]
fn padding_behind_the_packet_is_left_alone() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S).payload([]);
    let padded = |packet: &Packet| [packet.bytes(), vec![0xee; 18]].concat();
    let after = object.step(Hook::Egress, &padded(&packet), Context::default()).translated(NEW);
    assert_eq!(after, padded(&packet.clone().with_source((GATEWAY, 5000))));
    let answer = packet.answer((GATEWAY, 5000)).payload([]);
    let after = object.step(Hook::Ingress, &padded(&answer), Context::default()).translated(&[]);
    assert_eq!(after, padded(&answer.with_destination(A)));
}

#[test]
fn every_time_to_live_is_kept() {
    let mut object = Object::default();
    for (port, ttl) in [(1, 0), (2, 1), (3, 2), (4, 255)] {
        let mut packet = Packet::udp((VM1, 5000 + port), S);
        packet.ip.time_to_live = ttl;
        object.out(&packet, NEW);
    }
}

/// A packet over 64 KiB ("BIG TCP") has zero as its length.
#[test]
fn a_length_of_zero_is_believed_of_a_packet_of_segments_alone() {
    const LENGTH: usize = 14 + 2;
    let mut object = Object::default();
    // The rest of the header as it would be for this length.
    let with_zero_length = |packet: &Packet| {
        let mut bytes = packet.bytes();
        let mut ip = packet.ip.clone();
        ip.total_len = 0;
        let sum = ip.calc_header_checksum().to_be_bytes();
        bytes[LENGTH..LENGTH + 2].fill(0);
        bytes[LENGTH + 8..LENGTH + 10].copy_from_slice(&sum);
        bytes
    };
    let packet = Packet::tcp(A, S, ACK);
    let segments = Context { segments: 2, ..Context::default() };
    let after = object.step(Hook::Egress, &with_zero_length(&packet), segments).translated(NEW);
    assert_eq!(after, with_zero_length(&packet.clone().with_source((GATEWAY, 5000))));
    let malformed = natbpf_common::contract::counter::Counter::Malformed;
    object.step(Hook::Egress, &with_zero_length(&packet), Context::default()).dropped(malformed);
}

/// ECN and DSCP, urgent data, reserved values: none of a NAT's business.
#[test]
fn other_fields_are_kept() {
    let mut object = Object::default();
    let mut packet = Packet::tcp(A, S, SYN | TcpFlags::ECE | TcpFlags::CWR);
    packet.ip.dscp = etherparse::IpDscp::EF;
    packet.ip.ecn = etherparse::IpEcn::CongestionExperienced;
    packet.ip.dont_fragment = true;
    if let Body::Tcp(header) = &mut packet.body {
        header.urgent_pointer = 77;
        header.set_options_raw(&[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7]).expect("ten bytes of options");
    }
    object.out(&packet, NEW);
}
