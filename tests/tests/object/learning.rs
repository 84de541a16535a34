//! What becomes a path: only what the host has done twice, and to the very packet.

use lab::object::{CUSTOMER_TAG, Context, NEXT_HOP, Object, Packet};
use lab::{GATEWAY, VM1};
use natbpf::datapath::Hook;
use natbpf::obstacles::{Family, Traffic};
use natbpf_common::contract::counter::Counter;
use natbpf_common::wire::protocol::{DCCP, ESP, GRE, SCTP, TCP, UDP};
use natbpf_common::wire::segment::{ACK, FIN};

use super::{A, S};

const NOTED: &[Counter] = &[Counter::PathsNoted];
const RENEWED: &[Counter] = &[Counter::PathsRenewed];
const CHANGED: &[Counter] = &[Counter::CrossingsChanged];
const REPEATED: &[Counter] = &[Counter::PacketsRepeated];

fn object() -> Object {
    let mut object = Object::default();
    object.offload();
    object
}

fn udp_packet() -> Packet {
    Packet::udp(A, S).payload([7; 40])
}

/// A packet as it leaves: other addresses on the link, and so many routers.
fn forwarded(packet: &Packet, hops: u8) -> Vec<u8> {
    let mut frame = packet.clone().ttl(packet.ip.time_to_live - hops).bytes();
    frame[..12].copy_from_slice(&NEXT_HOP);
    frame
}

/// What becomes of a packet at its edge.
fn follow(object: &mut Object, frame: &[u8]) -> Option<Vec<u8>> {
    let step = object.step(Hook::PortIngress, frame, Context::default());
    if step.before == step.after && step.counted.is_empty() {
        return None;
    }
    assert_eq!(step.counted.get("packets_repeated"), Some(&1), "{step:?}");
    Some(step.after)
}

/// Two packets make a path, and the third is what they were.
#[track_caller]
fn learns(object: &mut Object, before: &Packet, after: &[u8]) {
    let frame = before.bytes();
    object.cross(&frame, after).untouched(&[]);
    assert_eq!(follow(object, &frame), None);
    object.cross(&frame, after).untouched(NOTED);
    assert_eq!(follow(object, &frame).as_deref(), Some(after), "{before:?}");
}

#[test]
fn what_routers_do() {
    for hops in [1, 2, 7] {
        let packet = udp_packet();
        learns(&mut object(), &packet, &forwarded(&packet, hops));
    }
}

#[test]
fn what_a_bridge_does() {
    let packet = udp_packet();
    learns(&mut object(), &packet, &packet.bytes());
    for protocol in [GRE, ESP, SCTP, DCCP, 253] {
        let packet = Packet::other(protocol, A.0, S.0);
        learns(&mut object(), &packet, &packet.bytes());
    }
}

#[test]
fn what_a_nat_does() {
    let tcp = Packet::tcp(A, S, ACK).payload([1; 100]);
    for packet in [udp_packet(), tcp, Packet::echo(A.0, S.0, 77)] {
        let out = packet.clone().with_source((GATEWAY, 40_000));
        learns(&mut object(), &packet, &forwarded(&out, 1));
        let both = packet.clone().with_source((GATEWAY, 40_000)).with_destination((VM1, 53));
        if !matches!(packet.body, lab::object::Body::Icmp { .. }) {
            learns(&mut object(), &packet, &forwarded(&both, 3));
        }
    }
    // Their checksums do not cover the addresses.
    for protocol in [GRE, ESP, SCTP] {
        let packet = Packet::other(protocol, A.0, S.0);
        learns(&mut object(), &packet, &forwarded(&packet.clone().with_source((GATEWAY, 0)), 1));
    }
    // Nobody knows where those are that do.
    let packet = Packet::other(DCCP, A.0, S.0);
    let out = forwarded(&packet.clone().with_source((GATEWAY, 0)), 1);
    object().cross(&packet.bytes(), &out).untouched(CHANGED);
}

#[test]
fn what_is_confirmed_and_left_once() {
    let mut object = object();
    let (packet, other) = (udp_packet(), udp_packet().with_source((GATEWAY, 1)));
    let frame = packet.bytes();
    let (one, two) = (forwarded(&packet, 1), forwarded(&other, 1));
    // By turns: never twice the same.
    for after in [&one, &two, &one, &two] {
        object.cross(&frame, after).untouched(&[]);
    }
    object.cross(&frame, &two).untouched(NOTED);
    // Another path is none, until it is confirmed.
    object.next_epoch();
    object.cross(&frame, &one).untouched(&[]);
    object.cross(&frame, &one).untouched(NOTED);
    assert_eq!(follow(&mut object, &frame), Some(one.clone()));
    // A flood: the second copy takes away what the first has made.
    object.next_epoch();
    object.cross(&frame, &one).untouched(RENEWED);
    let claim = object.claims();
    object.exit(claim, &two).untouched(&[Counter::CrossingsManifold]);
    assert_eq!(follow(&mut object, &frame), None);
    object.cross(&frame, &one).untouched(RENEWED);
}

#[test]
fn a_flood_confirms_nothing() {
    let mut object = object();
    let packet = udp_packet();
    let (frame, out) = (packet.bytes(), forwarded(&packet, 1));
    object.cross(&frame, &out).untouched(&[]);
    let claim = object.claims();
    object.exit(claim, &out).untouched(&[Counter::CrossingsManifold]);
    object.cross(&frame, &out).untouched(&[]);
    object.cross(&frame, &out).untouched(NOTED);
}

#[test]
fn anything_else_that_changes_makes_none() {
    let packet = Packet::tcp(A, S, ACK).payload([1; 40]).id(99);
    let mut service = packet.clone();
    service.ip.dscp = etherparse::IpDscp::try_new(10).expect("6 bits");
    for other in [
        packet.clone().payload([1; 39]),
        packet.clone().id(98),
        packet.clone().numbers(1, 2),
        packet.clone().flags(ACK | FIN),
        packet.clone().options(1),
        packet.clone().ttl(packet.ip.time_to_live + 1),
        service,
    ] {
        let step = object().cross(&packet.bytes(), &forwarded(&other, 0));
        assert_eq!(step.counted.get("crossings_changed"), Some(&1), "{other:?}");
    }
    let mut payload = Packet::udp(A, S).payload([1; 40]).bytes();
    payload[14 + 28 + 3] ^= 1;
    object().cross(&Packet::udp(A, S).payload([1; 40]).bytes(), &payload).untouched(CHANGED);
    let mut group = forwarded(&udp_packet(), 1);
    group[0] |= 1;
    object().cross(&udp_packet().bytes(), &group).untouched(CHANGED);
}

/// The number alone proves nothing.
#[test]
fn a_forged_number_leads_to_nothing() {
    let mut object = object();
    let (packet, victim) = (udp_packet(), Packet::udp((VM1, 6000), S).payload([9; 40]));
    object.cross(&packet.bytes(), &forwarded(&packet, 1)).untouched(&[]);
    let claim = object.claims();
    for number in 0..=u32::from(u16::MAX) {
        if number % 257 != 0 && number != u32::try_from(claim).expect("few") + 1 {
            continue;
        }
        let step = object.exit_with(number, &forwarded(&victim, 1));
        assert_eq!(step.counted.get("paths_noted"), None, "{number}");
    }
    assert_eq!(follow(&mut object, &victim.bytes()), None);
}

/// Rules have to see every packet of some traffic: by its ports and addresses before and after, its protocol, or all
/// of it.
#[test]
fn what_rules_have_to_see_makes_none() {
    const RESERVED: &[Counter] = &[Counter::CrossingsReserved];
    let udp = |ports| Traffic { protocol: Some(UDP), ports: Some(vec![ports]), ..Traffic::default() };
    let of = |protocol| Traffic { protocol, ..Traffic::default() };
    let packet = udp_packet();
    let out = forwarded(&packet.clone().with_source((GATEWAY, 40_000)).with_destination((VM1, 53)), 2);
    let ports = [A.1, S.1, 40_000, 53].map(|port| udp((port, port)));
    for traffic in ports.into_iter().chain([udp((0, u16::MAX)), of(Some(UDP)), of(None)]) {
        let mut object = object();
        object.reserve(traffic.clone());
        for _ in 0..3 {
            object.cross(&packet.bytes(), &out).untouched(RESERVED);
            assert_eq!(follow(&mut object, &packet.bytes()), None, "{traffic}");
        }
    }
    for address in [A.0, S.0, GATEWAY, VM1] {
        let mut object = object();
        let address = u128::from(u32::from(address));
        let addresses = Some(vec![(address, address)]);
        object.reserve(Traffic { family: Some(Family::V4), addresses, ..Traffic::default() });
        object.cross(&packet.bytes(), &out).untouched(RESERVED);
    }
    let tcp = Traffic { protocol: Some(TCP), ..udp((S.1, S.1)) };
    let six = Traffic { family: Some(Family::V6), ..of(None) };
    for traffic in [udp((54, 54)), tcp, of(Some(TCP)), six] {
        let mut object = object();
        object.reserve(traffic);
        learns(&mut object, &packet, &out);
    }
}

/// What is noted already is not confirmed any more when its rules come.
#[test]
fn rules_that_come_end_what_is_noted() {
    let mut object = object();
    let packet = udp_packet();
    let out = forwarded(&packet, 1);
    learns(&mut object, &packet, &out);
    object.reserve(Traffic { protocol: Some(UDP), ..Traffic::default() });
    object.next_epoch();
    for _ in 0..3 {
        object.cross(&packet.bytes(), &out).untouched(&[Counter::CrossingsReserved]);
        assert_eq!(follow(&mut object, &packet.bytes()), None);
    }
}

#[test]
fn a_change_on_the_way_counts() {
    let mut object = object();
    let (frame, out) = (udp_packet().bytes(), forwarded(&udp_packet(), 1));
    object.step(Hook::PortIngress, &frame, Context::default()).untouched(&[]);
    let claim = object.claims();
    object.next_epoch();
    object.exit(claim, &out).untouched(&[Counter::CrossingsStale]);
}

#[test]
fn tagged_frames_in_the_frame_are_the_kernels() {
    let mut object = object();
    let tagged = udp_packet().tags(&[CUSTOMER_TAG]).bytes();
    let before = object.claims();
    object.step(Hook::PortIngress, &tagged, Context::default()).untouched(&[]);
    assert_eq!(object.claims(), before);
}

/// A query whose identifier is its type has the numbers of an answer. Hosts let in answers where they let in no
/// queries.
#[test]
fn a_query_does_not_go_the_way_of_answers() {
    let object = &mut object();
    let answer = Packet::echo(VM1, S.0, 8).answer((VM1, 8));
    let query = Packet::echo(S.0, VM1, 8);
    learns(object, &answer, &forwarded(&answer, 1));
    assert_eq!(follow(object, &query.bytes()), None);
    learns(object, &query, &forwarded(&query, 1));
}

#[test]
fn repeated_packets_are_counted() {
    let mut object = object();
    let packet = udp_packet();
    let left = |object: &Object| object.counters()[Counter::PacketsLeft as usize];
    let before = left(&object);
    learns(&mut object, &packet, &forwarded(&packet, 1));
    // Two that the host was to see, and one without a path between.
    assert_eq!(left(&object), before + 3);
    let step = object.step(Hook::PortIngress, &packet.bytes(), Context::default());
    assert_eq!(
        step.counted.keys().copied().collect::<Vec<_>>(),
        REPEATED.iter().map(|c| c.name()).collect::<Vec<_>>()
    );
    assert_eq!(left(&object), before + 3);
}
