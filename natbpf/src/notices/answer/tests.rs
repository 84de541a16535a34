use etherparse::{
    Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice, PacketBuilder,
    icmpv4::DestUnreachableHeader::{FilterProhibited, Host},
};
use proptest::prelude::*;

use super::*;
use crate::notices::own::tests::own;

const INSTANCE: [u8; 4] = [10, 0, 0, 11];
const OUTSIDE: [u8; 4] = [203, 0, 113, 10];

fn gateway() -> Own {
    own(&["10.0.0.1/24", "203.0.113.1/24", "127.0.0.1/8"])
}

fn udp(source: [u8; 4], destination: [u8; 4], payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(source, destination, 63).udp(5000, 53);
    builder.write(&mut bytes, &vec![0x5a; payload]).unwrap();
    bytes
}

fn answer_to(reason: DropReason, bytes: &[u8]) -> Option<Answer> {
    answer(reason, &Packet::parse(bytes)?, &gateway())
}

/// Header and ICMP type of an answer, and what it quotes; the ICMP checksum was right.
fn parsed(answer: &Answer) -> (Ipv4HeaderSlice<'_>, Icmpv4Type, &[u8]) {
    let header = Ipv4HeaderSlice::from_slice(&answer.bytes).unwrap();
    assert_eq!(usize::from(header.total_len()), answer.bytes.len());
    let icmp = Icmpv4Slice::from_slice(&answer.bytes[header.slice().len()..]).unwrap();
    let parsed = icmp.header();
    assert_eq!(icmp.checksum(), parsed.icmp_type.calc_checksum(icmp.payload()));
    (header, parsed.icmp_type, &answer.bytes[header.slice().len() + icmp.header_len()..])
}

#[test]
fn the_sender_is_told_the_reason_and_quoted_its_packet() {
    let packet = udp(INSTANCE, OUTSIDE, 20);
    let cases = [
        (DropReason::TableFull, Host),
        (DropReason::NoPort, Host),
        (DropReason::NoAddress, Host),
        (DropReason::ProtocolCollision, Host),
        (DropReason::Quota, FilterProhibited),
    ];
    for (reason, code) in cases {
        let answer = answer_to(reason, &packet).unwrap();
        let (header, icmp, quote) = parsed(&answer);
        assert_eq!(icmp, Icmpv4Type::DestinationUnreachable(code));
        assert_eq!(quote, packet, "byte for byte, the time to live as it is");
        assert_eq!((answer.to, header.destination()), (INSTANCE.into(), INSTANCE));
        assert_eq!((header.source(), header.identification(), header.header_checksum()), ([0; 4], 0, 0));
        assert_eq!((header.ttl(), header.dont_fragment(), header.more_fragments()), (64, false, false));
    }
}

#[test]
fn every_reason_that_the_datapath_tells_has_an_answer_and_no_other() {
    let packet = udp(INSTANCE, OUTSIDE, 20);
    for reason in DropReason::ALL {
        let told = reason.is_noticed();
        assert_eq!(answer_to(*reason, &packet).is_some(), told, "{reason:?}");
    }
}

/// RFC 1812, sections 4.3.2.3 and 4.3.2.5.
#[test]
fn an_answer_has_576_bytes_at_most_and_the_precedence_of_control() {
    let mut packet = udp(INSTANCE, OUTSIDE, 1400);
    // Precedence 5, low delay, and ECN.
    packet[1] = 5 << 5 | 0x10 | 1;
    let answer = answer_to(DropReason::NoPort, &packet).unwrap();
    let (header, _, quote) = parsed(&answer);
    assert_eq!((answer.bytes.len(), quote), (576, &packet[..548]));
    assert_eq!(header.slice()[1], 6 << 5 | 0x10);
}

#[test]
fn later_fragments_are_not_answered_and_first_ones_are() {
    let mut packet = udp(INSTANCE, OUTSIDE, 20);
    packet[6] = 0x20;
    assert!(answer_to(DropReason::TableFull, &packet).is_some());
    for fragment in [[0x20, 1], [0, 1], [0x1f, 0]] {
        packet[6..8].copy_from_slice(&fragment);
        assert_eq!(answer_to(DropReason::TableFull, &packet), None, "{fragment:?}");
    }
}

#[test]
fn of_icmp_only_queries_and_replies_are_answered() {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4(INSTANCE, OUTSIDE, 63).icmpv4_echo_request(1, 1);
    builder.write(&mut packet, b"ping").unwrap();
    assert!(answer_to(DropReason::TableFull, &packet).is_some());
    for error in [3, 4, 5, 11, 12, 9, 200] {
        packet[20] = error;
        assert_eq!(answer_to(DropReason::TableFull, &packet), None, "type {error}");
    }
    packet[3] = 20;
    assert_eq!(answer_to(DropReason::TableFull, &packet), None, "an ICMP message without a type");
}

#[test]
fn nobody_is_answered_whose_address_is_no_single_hosts_or_the_gateways() {
    let none = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 9], [250, 0, 0, 1], [255; 4], [10, 0, 0, 255]];
    for address in none {
        assert_eq!(answer_to(DropReason::NoPort, &udp(address, OUTSIDE, 0)), None, "from {address:?}");
        assert_eq!(answer_to(DropReason::NoPort, &udp(INSTANCE, address, 0)), None, "to {address:?}");
    }
    assert_eq!(answer_to(DropReason::NoPort, &udp([10, 0, 0, 1], OUTSIDE, 0)), None);
    assert!(answer_to(DropReason::NoPort, &udp(INSTANCE, [10, 0, 0, 1], 0)).is_some());
}

const REASONS: [DropReason; 4] =
    [DropReason::TableFull, DropReason::NoPort, DropReason::Quota, DropReason::Malformed];

/// What an instance may send: any header whose fields say something now and then, and anything behind it.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![4 => Just(0x45u8), 1 => Just(0x4f), 1 => any::<u8>()];
    let fragment = prop_oneof![3 => Just([0; 2]), 1 => any::<[u8; 2]>()];
    let protocol = prop_oneof![Just(1u8), Just(17), any::<u8>()];
    let addresses = (any::<[u8; 4]>(), any::<[u8; 4]>());
    let header = (version, any::<u8>(), 0..700u16, fragment, protocol, addresses);
    let rest = proptest::collection::vec(any::<u8>(), 0..700);
    (header, rest, 0..1000usize).prop_map(|(header, rest, length)| {
        let (version, tos, total, fragment, protocol, (source, destination)) = header;
        let mut packet = vec![version, tos];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(fragment);
        packet.extend([63, protocol, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(rest);
        packet.truncate(length);
        packet
    })
}

proptest! {
    #[test]
    fn no_packet_gets_a_wrong_answer(packet in packets(), reason in 0..REASONS.len()) {
        let reason = REASONS[reason];
        let Some(answer) = answer_to(reason, &packet) else { return Ok(()) };
        let (header, icmp, quote) = parsed(&answer);
        let code = if reason == DropReason::Quota { FilterProhibited } else { Host };
        prop_assert_eq!(icmp, Icmpv4Type::DestinationUnreachable(code));
        prop_assert!(answer.bytes.len() <= 576 && packet.starts_with(quote) && quote.len() >= HEADER);
        prop_assert_eq!(&answer.to.octets()[..], &packet[12..16]);
        prop_assert_eq!(header.destination(), answer.to.octets());
        prop_assert!(!gateway().has(answer.to) && gateway().is_host(answer.to));
        prop_assert!(packet[6] & 0x1f == 0 && packet[7] == 0, "a later fragment");
    }
}
