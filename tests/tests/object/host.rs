//! The gateway's own traffic by the uplink: untouched, and never mixed with an instance's.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use lab::object::{End, NEW, NEW_PORT, Object, PLAIN, Packet, to_ports};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf_common::contract::counter::Counter::{
    FlowsCreated, HostMoved, HostReserved, NoPort, PortsChanged, ProtocolCollision,
};
use natbpf_common::wire::protocol::GRE;
use natbpf_common::wire::segment::{ACK, FIN, RST, SYN, TcpFlags};

use super::{A, S, one_of_each};

const HOST: End = (GATEWAY, 5000);

#[test]
fn the_hosts_packets_pass() {
    let mut object = Object::default();
    // Also where every source is masqueraded.
    object.set_rules(&[(lab::object::LO, "0.0.0.0/0", PLAIN)], &[]);
    for flags in [SYN, ACK, FIN | ACK, RST, TcpFlags::empty()] {
        object.egress(&Packet::tcp(HOST, S, flags)).untouched(&[]);
    }
    object.egress(&Packet::udp(HOST, S)).untouched(&[]);
    object.egress(&Packet::udp(HOST, S).fragment(0, true)).untouched(&[]);
    object.egress(&Packet::udp(HOST, S).fragment(100, false)).untouched(&[]);
    for kind in [0, 3, 11, 14, 200] {
        object.egress(&Packet::icmp(GATEWAY, SERVER, kind, 1)).untouched(&[]);
    }
    assert_eq!(object.entries().len(), 0);
}

#[test]
fn the_hosts_echo_identifier_is_its_own() {
    let mut object = Object::default();
    let own = Packet::echo(GATEWAY, SERVER, 7);
    object.egress(&own).untouched(&[HostReserved]);
    object.egress(&own).untouched(&[]);
    let packet = Packet::echo(VM1, SERVER, 7);
    let external = object.out(&packet, NEW_PORT);
    object.back(&packet.answer(external), (VM1, 7));
    object.ingress(&own.answer((GATEWAY, 7))).untouched(&[]);
    object.ingress(&own.answer((GATEWAY, 7))).untouched(&[]);
}

#[test]
fn the_hosts_tunnel_is_its_own() {
    let mut object = Object::default();
    object.egress(&Packet::other(GRE, GATEWAY, SERVER)).untouched(&[HostReserved]);
    object.egress(&Packet::other(GRE, VM1, SERVER)).dropped(ProtocolCollision);
    object.out(&Packet::other(GRE, VM1, SERVER2), NEW);
    object.ingress(&Packet::other(GRE, SERVER, GATEWAY)).untouched(&[]);
}

/// Somebody who can make the host ask takes no room from instances.
#[test]
fn the_host_has_its_share_of_the_table() {
    let mut object = Object::default();
    object.set_host_share(2);
    let ask = |id| Packet::echo(GATEWAY, SERVER, id);
    for id in 1..=2 {
        object.egress(&ask(id)).untouched(&[HostReserved]);
    }
    for id in 3..100 {
        object.egress(&ask(id)).untouched(&[]);
    }
    object.egress(&Packet::other(GRE, GATEWAY, SERVER)).untouched(&[]);
    assert_eq!(object.entries().len(), 2);
    object.census();
    // What goes makes room.
    object.let_pass(100);
    object.reap_all();
    object.let_pass(3);
    object.reap_all();
    for id in 4..=5 {
        object.egress(&ask(id)).untouched(&[HostReserved]);
    }
    object.egress(&ask(6)).untouched(&[]);
    // Without one there is no end.
    object.set_host_share(0);
    for id in 7..50 {
        object.egress(&ask(id)).untouched(&[HostReserved]);
    }
    object.census();
    object.expect_all_to_go();
}

/// Its replies would go to the instance.
#[test]
fn a_tunnel_of_the_host_that_comes_second_is_refused() {
    let mut object = Object::default();
    object.out(&Packet::other(GRE, VM1, SERVER), NEW);
    object.egress(&Packet::other(GRE, GATEWAY, SERVER)).dropped(ProtocolCollision);
    object.back(&Packet::other(GRE, SERVER, GATEWAY), (VM1, 0));
    object.idle(&Packet::other(GRE, VM1, SERVER), 100);
    object.egress(&Packet::other(GRE, GATEWAY, SERVER)).untouched(&[]);
}

#[test]
fn a_host_that_comes_second_is_moved_to_another_port() {
    let mut object = Object::default();
    for (instance, own) in one_of_each(A).iter().zip(&one_of_each(HOST)) {
        let external = object.out(instance, NEW);
        let moved = object.out(own, &[FlowsCreated, HostMoved, PortsChanged]);
        assert_ne!(moved, external);
        object.back(&own.answer(moved), HOST);
        object.back(&instance.answer(external), A);
        assert_eq!(object.out(own, &[]), moved);
        // Elsewhere nobody has its tuple.
        let elsewhere = own.clone().with_destination((SERVER2, own.destination().1));
        let events = if own.ip.protocol.0 == 1 { &[HostReserved][..] } else { &[] };
        object.egress(&elsewhere).untouched(events);
    }
    assert_eq!(object.host_moved(), 3);
    object.expect_all_to_go();
    assert_eq!(object.host_moved(), 0);
}

/// In mid-stream the host was there first.
#[test]
fn a_running_connection_of_the_host_is_never_moved() {
    let mut object = Object::default();
    object.out(&Packet::tcp(A, S, SYN), NEW);
    for flags in [ACK, FIN | ACK, RST, SYN | ACK] {
        object.egress(&Packet::tcp(HOST, S, flags)).untouched(&[]);
    }
    assert_eq!(object.host_moved(), 0);
}

#[test]
fn an_instances_flow_that_is_over_moves_nobody() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    object.idle(&packet, 100);
    object.egress(&Packet::udp(HOST, S)).untouched(&[]);
}

#[test]
fn a_port_with_a_socket_is_not_handed_out() {
    let mut object = Object::default();
    let _udp = UdpSocket::bind(HOST).expect("a socket in the test's namespace");
    let _tcp = TcpListener::bind(HOST).expect("a listener in the test's namespace");
    for packet in [Packet::udp(A, S), Packet::tcp(A, S, SYN)] {
        let external = object.out(&packet, NEW_PORT);
        assert_ne!(external.1, 5000);
        object.back(&packet.answer(external), A);
    }
    // ICMP has no ports.
    object.out(&Packet::echo(VM1, SERVER, 5000), NEW);
}

#[test]
fn a_socket_on_every_address_has_its_port() {
    let mut object = Object::default();
    let _udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)).expect("a socket");
    let _tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5000)).expect("a listener");
    for packet in [Packet::udp(A, S), Packet::tcp(A, S, SYN)] {
        assert_ne!(object.out(&packet, NEW_PORT).1, 5000);
    }
}

/// It would not get the replies of anybody else.
#[test]
fn a_connected_socket_has_its_port_toward_its_peer_alone() {
    let mut object = Object::default();
    lab::object::ip("route add default dev lo");
    let socket = UdpSocket::bind(HOST).expect("a socket");
    socket.connect(S).expect("no packet is sent by that");
    assert_eq!(object.out(&Packet::udp(A, (SERVER2, 9000)), NEW).1, 5000);
    assert_ne!(object.out(&Packet::udp((VM2, 5000), S), NEW_PORT).1, 5000);
}

#[test]
fn sockets_count_in_a_range() {
    let mut object = Object::new(to_ports(50000, 50003));
    let bind = |port| UdpSocket::bind((GATEWAY, port)).expect("a socket");
    let mut sockets: Vec<UdpSocket> = [50000, 50001, 50002].map(bind).into();
    assert_eq!(object.out(&Packet::udp((VM1, 50000), S), NEW_PORT).1, 50003);
    object.egress(&Packet::udp((VM2, 50000), S)).dropped(NoPort);
    // A closed socket gives its port back, which is seen by the next search.
    sockets.pop();
    object.egress(&Packet::udp((VM2, 50000), S)).dropped(NoPort);
    // A program that another test starts just now has the socket until it has begun.
    std::thread::sleep(std::time::Duration::from_millis(100));
    object.forget_refusals();
    assert_eq!(object.out(&Packet::udp((VM2, 50000), S), NEW_PORT).1, 50002);
}

#[test]
fn a_socket_does_not_disturb_a_running_flow() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let _late = UdpSocket::bind(HOST).expect("a socket");
    assert_eq!(object.out(&packet, &[]), external);
    object.back(&packet.answer(external), A);
}

/// Ending the flow of a host that was moved does not give it the instance's tuple.
#[test]
fn a_moved_flow_that_is_ended_is_not_mixed_with_the_instances() {
    let mut object = Object::default();
    let (instance, own) = (Packet::udp(A, S), Packet::udp(HOST, S));
    let external = object.out(&instance, NEW);
    object.out(&own, &[FlowsCreated, HostMoved, PortsChanged]);
    assert_eq!(object.kill(&[lab::object::key_of(&own)]), 1);
    let step = object.egress(&own);
    let source = lab::object::ends(&step.after).map(|(source, _)| source);
    assert!(
        step.verdict == lab::object::Verdict::Drop || source != Some(external),
        "{source:?} is the instance's"
    );
    object.back(&instance.answer(external), A);
}
