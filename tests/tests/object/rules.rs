//! Which packets are translated at all.

use std::net::Ipv4Addr;

use lab::object::{CUSTOMER_TAG, Context, LO, NEW, NEW_PORT, Object, PLAIN, Packet, to_ports};
use lab::{GATEWAY, INSIDE, SERVER, SERVER2, VM1};
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::rules::Rule;
use natbpf_common::wire::segment::{ACK, SYN, TcpFlags};

use super::{A, S, one_of_each};

const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 12);

#[test]
fn other_sources_are_left_alone() {
    let mut object = Object::default();
    for source in [STRANGER, Ipv4Addr::new(10, 0, 1, 11), Ipv4Addr::new(9, 255, 255, 255)] {
        for packet in one_of_each((source, 5000)) {
            object.egress(&packet).untouched(&[]);
        }
        object.egress(&Packet::udp((source, 1), S).fragment(0, true)).untouched(&[]);
        object.egress(&Packet::other(47, source, SERVER)).untouched(&[]);
        object.egress(&Packet::icmp(source, SERVER, 3, 0)).untouched(&[]);
        object.egress(&Packet::tcp((source, 1), S, TcpFlags::empty())).untouched(&[]);
    }
    assert_eq!(object.entries().len(), 0);
}

/// Nonsense is ours only where its source is masqueraded.
#[test]
fn malformed_packets_of_other_sources_are_left_alone() {
    let mut object = Object::default();
    for source in [STRANGER, GATEWAY] {
        let frame = Packet::udp((source, 5000), S).bytes();
        for (offset, value) in
            [(14, 0x44), (14, 0x65), (16, 0xff), (17, 5), (14 + 20 + 4, 0xff), (14 + 20 + 5, 3)]
        {
            let mut frame = frame.clone();
            frame[offset] = value;
            object.step(Hook::Egress, &frame, Context::default()).untouched(&[]);
        }
    }
}

/// A DHCP client that has no address yet.
#[test]
fn the_unspecified_source_is_left_alone() {
    let mut object = Object::default();
    object.set_rules(&[(LO, "0.0.0.0/0", PLAIN)], &[]);
    let discover = Packet::udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67));
    object.egress(&discover).untouched(&[]);
    object.out(&Packet::udp((STRANGER, 68), S), NEW);
}

#[test]
fn exceptions_are_left_alone() {
    let mut object = Object::default();
    object.set_rules(&[(LO, INSIDE, PLAIN)], &[(0, "203.0.113.12/32"), (0, "192.168.0.0/16")]);
    for destination in [SERVER2, STRANGER] {
        object.egress(&Packet::udp(A, (destination, 9000))).untouched(&[]);
        object.egress(&Packet::udp(A, (destination, 9000)).fragment(0, true)).untouched(&[]);
        object.egress(&Packet::tcp(A, (destination, 9000), ACK)).untouched(&[]);
    }
    object.out(&Packet::udp(A, S), NEW);
    object.egress(&Packet::udp(A, S).fragment(185, false)).dropped(Counter::FragmentKept);
}

#[test]
fn exceptions_are_their_rules_own() {
    let mut object = Object::default();
    let other = Rule { id: 1, ..PLAIN };
    object
        .set_rules(&[(LO, "10.0.0.0/28", PLAIN), (LO, "192.168.50.0/24", other)], &[(1, "203.0.113.10/32")]);
    object.out(&Packet::udp(A, S), NEW);
    object.egress(&Packet::udp((STRANGER, 5000), S)).untouched(&[]);
    object.out(&Packet::udp((STRANGER, 5001), (SERVER2, 9000)), NEW);
}

#[test]
fn the_longest_source_decides() {
    let mut object = Object::default();
    let ranges = [
        ("0.0.0.0/0", to_ports(40000, 40000)),
        (INSIDE, to_ports(41000, 41000)),
        ("10.0.0.11/32", to_ports(42000, 42000)),
    ];
    let rules: Vec<_> = ranges
        .iter()
        .enumerate()
        .map(|(id, (source, rule))| (LO, *source, Rule { id: id as u32, ..*rule }))
        .collect();
    object.set_rules(&rules, &[]);
    for (source, port) in [(STRANGER, 40000), (Ipv4Addr::new(10, 0, 0, 12), 41000), (VM1, 42000)] {
        assert_eq!(object.out(&Packet::udp((source, 5000), S), NEW_PORT).1, port);
    }
}

#[test]
fn rules_replaced_while_flows_run() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    object.set_rules(&[(LO, INSIDE, to_ports(50000, 50000))], &[]);
    assert_eq!(object.out(&packet, &[]), (GATEWAY, 5000), "a running flow keeps its translation");
    assert_eq!(object.out(&Packet::udp((VM1, 5001), S), NEW_PORT).1, 50000);
    object.set_rules(&[], &[]);
    object.egress(&Packet::udp((VM1, 5002), S)).untouched(&[]);
    assert_eq!(object.out(&packet, &[]), (GATEWAY, 5000));
}

/// ARP, IPv6, and what only looks like IPv4.
#[test]
fn other_protocols_of_the_link_are_left_alone() {
    let mut object = Object::default();
    let frame = Packet::udp(A, S).bytes();
    for ether_type in [0x0806_u16, 0x86dd, 0x88cc, 0x9100, 0x0000, 0x0600] {
        let mut frame = frame.clone();
        frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
        for hook in [Hook::Ingress, Hook::Egress] {
            object.step(hook, &frame, Context::default()).untouched(&[]);
        }
        let mut tagged = Packet::udp(A, S).tags(&[CUSTOMER_TAG]).bytes();
        tagged[16..18].copy_from_slice(&ether_type.to_be_bytes());
        object.step(Hook::Egress, &tagged, Context::default()).untouched(&[]);
    }
}

#[test]
fn what_arrives_unasked_is_left_alone() {
    let mut object = Object::default();
    let gateway = (GATEWAY, 5000);
    for packet in [Packet::udp(S, gateway), Packet::tcp(S, gateway, SYN), Packet::echo(SERVER, GATEWAY, 1)] {
        object.ingress(&packet).untouched(&[]);
        object.ingress(&packet.clone().fragment(0, true)).untouched(&[]);
        object.ingress(&packet.fragment(100, false)).untouched(&[Counter::FragmentKept]);
    }
    for kind in [0, 3, 4, 5, 11, 12, 14, 200] {
        object.ingress(&Packet::icmp(SERVER, GATEWAY, kind, 1)).untouched(&[]);
    }
    for protocol in [2, 47, 50, 132, 255] {
        object.ingress(&Packet::other(protocol, SERVER, GATEWAY)).untouched(&[]);
    }
}

/// Nonsense from outside is for the host to judge.
#[test]
fn what_arrives_malformed_is_left_alone() {
    let mut object = Object::default();
    let external = object.out(&Packet::udp(A, S), NEW);
    let answer = Packet::udp(S, external).bytes();
    for (offset, value) in
        [(14, 0x44), (14, 0x65), (14, 0x4f), (16, 0xff), (17, 5), (14 + 20 + 4, 0xff), (14 + 20 + 5, 3)]
    {
        let mut frame = answer.clone();
        frame[offset] = value;
        object.step(Hook::Ingress, &frame, Context::default()).untouched(&[]);
    }
    object.back(&Packet::udp(S, external), A);
}
