//! Which external port a flow gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::object::{End, NEW, NEW_PORT, Object, PLAIN, Packet, to_ports};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf_common::contract::counter::Counter::{FlowsCreated, NoPort, PortsChanged, PortsOverlapped};
use natbpf_common::contract::rules::Rule;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::wire::protocol::GRE;
use natbpf_common::wire::segment::SYN;

use super::{A, B, S, one_of_each};

/// The instance of a number, 1 to 250.
fn instance(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

#[test]
fn the_source_port_is_kept_where_it_is_free() {
    let mut object = Object::default();
    for port in [1, 53, 511, 512, 513, 599, 600, 1023, 1024, 32768, 65535] {
        for packet in one_of_each((VM1, port)) {
            assert_eq!(object.out(&packet, NEW), (GATEWAY, port));
        }
    }
    assert_eq!(object.out(&Packet::echo(VM1, SERVER, 0), NEW).1, 0);
}

/// RFC 4787: REQ-3a asks for the class of the port, section 4.2.2 for its parity.
#[test]
fn a_second_instance_gets_another_port_of_the_same_class_and_parity() {
    let mut object = Object::default();
    let classes = [
        (7, 1..=511),
        (510, 1..=511),
        (600, 512..=1023),
        (1023, 512..=1023),
        (1024, 1024..=65535),
        (5001, 1024..=65535),
    ];
    for (port, class) in classes {
        for (first, second) in one_of_each((VM1, port)).iter().zip(&one_of_each((VM2, port))) {
            object.out(first, NEW);
            let (_, other) = object.out(second, NEW_PORT);
            assert_ne!(other, port);
            assert_eq!(other % 2, port % 2, "parity of the port for {port}");
            if first.ip.protocol.0 != 1 {
                assert!(class.contains(&other), "{port} became {other}");
            }
            object.back(&second.answer((GATEWAY, other)), second.source());
            object.back(&first.answer((GATEWAY, port)), first.source());
        }
    }
}

#[test]
fn two_hundred_instances_with_one_source_port() {
    let mut object = Object::default();
    for flags in [None, Some(SYN)] {
        let mut ports = BTreeSet::new();
        for number in 2..=201 {
            let source = (instance(number), 4000);
            let packet = flags.map_or(Packet::udp(source, S), |flags| Packet::tcp(source, S, flags));
            let events = if number == 2 { NEW } else { NEW_PORT };
            let external = object.out(&packet, events);
            assert!(ports.insert(external.1), "{external:?} twice");
            object.back(&packet.answer(external), source);
        }
    }
    let census = object.census();
    assert_eq!((census.flows, census.orphans), (400, 0));
}

#[test]
fn a_port_in_the_range_is_kept_and_one_outside_is_brought_in() {
    let mut object = Object::new(to_ports(5000, 5010));
    assert_eq!(object.out(&Packet::udp(A, S), NEW).1, 5000);
    for number in 1..=10 {
        let (_, port) = object.out(&Packet::tcp((instance(number), 40000), S, SYN), NEW_PORT);
        assert!((5000..=5010).contains(&port), "{port}");
    }
}

#[test]
fn a_range_serves_as_many_instances_as_it_has_ports() {
    for (first, last) in [(50000, 50010), (1, 1), (65535, 65535), (60000, 60127)] {
        let mut object = Object::new(to_ports(first, last));
        let count = u8::try_from(last - first + 1).expect("fewer than 256 ports");
        let mut ports = BTreeSet::new();
        for number in 1..=count {
            let external = object.out(&Packet::udp((instance(number), 4444), S), NEW_PORT);
            assert!((first..=last).contains(&external.1));
            assert!(ports.insert(external.1), "{external:?} twice");
        }
    }
}

/// RFC 7857 section 3 allows an overlap; it is this or no traffic.
#[test]
fn a_range_without_free_ports_is_shared_toward_other_destinations() {
    let mut object = Object::new(to_ports(50000, 50001));
    let packets =
        |destination: End| [3, 4, 5].map(|number| Packet::udp((instance(number), 50000), destination));
    let [first, second, third] = packets(S);
    assert_eq!(object.out(&first, NEW).1, 50000);
    assert_eq!(object.out(&second, NEW_PORT).1, 50001);
    object.egress(&third).dropped(NoPort);
    object.egress(&third).dropped(NoPort);
    // The same port at another server is another tuple.
    let elsewhere = [(SERVER, 9001), (SERVER2, 9000)].map(|destination| {
        let [.., third] = packets(destination);
        let external = object.begin(&third, &[PortsOverlapped]);
        assert!((50000..=50001).contains(&external.1));
        (third, external)
    });
    for (packet, external) in elsewhere {
        object.back(&packet.answer(external), (instance(5), 50000));
    }
    object.back(&first.answer((GATEWAY, 50000)), first.source());
    assert_eq!(object.census().mappings, 2);
}

/// A search that finds nothing is long, and a source without a port asks again and again: for a moment the
/// answer stays the same. A source that has used up the few low ports toward a server keeps nobody from the others.
#[test]
fn a_refusal_is_for_one_range_of_ports() {
    let mut object = Object::new(Rule { flags: RuleFlags::PER_DESTINATION, ..PLAIN });
    for port in 1..=511 {
        object.out(&Packet::udp((VM1, port), S), NEW);
    }
    object.egress(&Packet::udp((VM2, 80), S)).dropped(NoPort);
    object.egress(&Packet::udp((VM2, 81), S)).dropped(NoPort);
    object.out(&Packet::udp((VM2, 5000), S), NEW);
    object.out(&Packet::udp((VM2, 600), S), NEW);
}

#[test]
fn a_refusal_is_remembered_for_a_moment() {
    let mut object =
        Object::new(Rule { flags: RuleFlags::PER_DESTINATION | RuleFlags::PORTS, ..to_ports(50000, 50000) });
    let running = Packet::udp((VM1, 50000), S);
    object.out(&running, NEW);
    let reply = object.reply_key(&running);
    let refused = |port| Packet::udp((VM2, port), S);
    let start = Instant::now();
    object.egress(&refused(1)).dropped(NoPort);
    // The port is free, and nobody looks; not for another port of the same source either.
    object.remove(&reply);
    object.remove(&lab::object::key_of(&running));
    let again = [1, 2].map(|port| object.egress(&refused(port)));
    if start.elapsed() < Duration::from_millis(60) {
        again.into_iter().for_each(|step| step.dropped(NoPort));
        // Other sources are not concerned, nor are other destinations.
        object.begin(&Packet::udp((VM2, 1), (SERVER, 9001)), &[]);
        object.begin(&Packet::udp((VM1, 1), (SERVER, 9000)), &[]);
    }
    object.forget_refusals();
    object.expect_all_to_go();
    object.out(&running, NEW);
    object.egress(&refused(1)).dropped(NoPort);
    object.remove(&object.reply_key(&running));
    object.remove(&lab::object::key_of(&running));
    sleep(Duration::from_millis(140));
    object.begin(&refused(1), &[]);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn ranges_are_for_tcp_and_udp_alone() {
    let mut object = Object::new(to_ports(50000, 50000));
    assert_eq!(object.out(&Packet::echo(VM1, SERVER, 77), NEW).1, 77);
    object.out(&Packet::other(GRE, VM1, SERVER), NEW);
    assert_eq!(object.out(&Packet::udp(A, S), NEW_PORT).1, 50000);
}

#[test]
fn random_ports_follow_nothing() {
    let mut object = Object::new(Rule { flags: RuleFlags::RANDOM, ..PLAIN });
    let mut ports = BTreeSet::new();
    for number in 1..=100 {
        let packet = Packet::udp((instance(number), 5000), S);
        let external = object.out(&packet, NEW_PORT);
        object.back(&packet.answer(external), packet.source());
        assert!(ports.insert(external.1));
    }
    let neighbours = ports.iter().zip(ports.iter().skip(1)).filter(|(a, b)| *b - *a <= 2).count();
    assert!(neighbours < 20, "{ports:?} are no random ports");
}

#[test]
fn random_ports_stay_in_a_range() {
    let mut object =
        Object::new(Rule { flags: RuleFlags::RANDOM | RuleFlags::PORTS, ..to_ports(50000, 50099) });
    for number in 1..=60 {
        let external = object.begin(&Packet::udp((instance(number), 50000), S), &[]);
        assert!((50000..=50099).contains(&external.1));
    }
    assert_eq!(object.census().flows, 60);
}

/// A restart of an instance finds its ports where they were, since the seed of the search is its endpoint.
#[test]
fn an_endpoint_finds_the_same_port_again_by_the_secret() {
    let mut object = Object::default();
    object.set_secret(0x1234_5678);
    let (first, second) = (Packet::udp(A, S), Packet::udp(B, S));
    object.out(&first, NEW);
    let port = object.out(&second, NEW_PORT).1;
    object.expect_all_to_go();
    object.out(&first, NEW);
    assert_eq!(object.out(&second, NEW_PORT).1, port);
    object.expect_all_to_go();
    object.set_secret(0x8765_4321);
    object.out(&first, NEW);
    assert_ne!(object.out(&second, NEW_PORT).1, port, "another secret, another port");
}

#[test]
fn running_flows_do_not_count_as_changed_again() {
    let mut object = Object::default();
    object.out(&Packet::udp(A, S), NEW);
    let second = Packet::udp(B, S);
    let external = object.out(&second, &[FlowsCreated, PortsChanged]);
    assert_eq!(object.out(&second, &[]), external);
}
