//! Mappings whose filtering lets strangers in.

use super::*;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;

#[test]
fn whoever_comes_by_an_open_mapping_reaches_its_owner() {
    let mut object = serving(OPEN);
    object.out(&Packet::udp(A, S), NEW);
    // The second instance's port differs outside.
    let external = object.out(&Packet::udp(B, S), NEW_PORT);
    for stranger in [(SERVER, 1), (SERVER2, 9000), (Ipv4Addr::new(198, 51, 100, 9), 5)] {
        let packet = Packet::udp(stranger, external);
        assert_eq!(object.meet(&packet, B, &[]), external);
        object.back(&packet, B);
    }
    assert_eq!(object.census().flows, 5);
    object.expect_all_to_go();
}

#[test]
fn strangers_begin_connections_with_a_syn() {
    let mut object = serving(OPEN);
    let external = object.out(&Packet::tcp(A, S, SYN), NEW);
    for flags in [ACK, ACK | PSH, SYN | ACK, FIN | ACK, RST] {
        let step = object.ingress(&Packet::tcp(STRANGER, external, flags));
        step.dropped(if flags.intersects(ACK) && !flags.intersects(SYN | FIN) {
            Unsolicited
        } else {
            TcpNoFlow
        });
    }
    assert_eq!(object.meet(&Packet::tcp(STRANGER, external, SYN), A, &[]), external);
    let answer = Packet::tcp(A, STRANGER, SYN | ACK);
    assert_eq!(object.state(&answer), State::TcpEstablished);
    object.expect_all_to_go();
}

#[test]
fn nobody_comes_where_there_is_no_mapping() {
    let mut object = serving(OPEN);
    let external = object.out(&Packet::udp(A, S), NEW);
    object.ingress(&Packet::udp(STRANGER, (GATEWAY, 5001))).untouched(&[]);
    object.ingress(&Packet::tcp(STRANGER, external, SYN)).untouched(&[]);
    object.ingress(&Packet::echo(SERVER2, GATEWAY, 5000)).untouched(&[]);
    // Nor where the filter is not open, nor without the uplink's flag.
    let mut object = serving(PLAIN);
    let external = object.out(&Packet::udp(A, S), NEW);
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
    object.ingress(&Packet::udp((SERVER, 9001), external)).untouched(&[]);
    let mut object = Object::new(OPEN);
    let external = object.out(&Packet::udp(A, S), NEW);
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
}

/// Queries are answered by whom they were sent to.
#[test]
fn identifiers_let_nobody_in() {
    let mut object = serving(OPEN);
    let query = Packet::echo(VM1, SERVER, 5000);
    let external = object.out(&query, NEW);
    object.ingress(&Packet::echo(VM1, SERVER2, 5000).answer(external)).untouched(&[]);
    object.ingress(&Packet::echo(SERVER2, GATEWAY, 5000)).untouched(&[]);
    object.back(&query.answer(external), (VM1, 5000));
}

#[test]
fn a_mapping_without_flows_is_closed() {
    let mut object = serving(OPEN);
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.idle(&packet, 100);
    object.reap_all();
    object.let_pass(3);
    object.reap_all();
    let census = object.census();
    assert_eq!((census.flows, census.mappings), (0, 1), "the port rests");
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
    // RFC 6888 REQ-8: nobody else gets it for two minutes.
    assert_ne!(object.out(&Packet::udp(B, S), NEW_PORT), external);
    object.let_pass(110);
    object.reap_all();
    assert_eq!(object.census().mappings, 2);
    object.let_pass(11);
    object.reap_all();
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
    object.expect_all_to_go();
}

#[test]
fn a_flow_by_a_mapping_whose_time_is_over_begins_anew() {
    let mut object = serving(OPEN);
    let external = object.out(&Packet::udp(A, S), NEW);
    let (packet, answer) = (Packet::udp(STRANGER, external), Packet::udp(A, STRANGER));
    object.meet(&packet, A, &[]);
    for _ in 0..3 {
        object.idle(&answer, 100);
        object.back(&packet, A);
        assert_eq!(object.out(&answer, &[]), external);
        object.kill(&[key_of(&answer)]);
        object.meet(&packet, A, &[]);
        assert_eq!(object.census().flows, 2);
    }
    object.kill(&[key_of(&answer)]);
    assert_eq!(object.out(&answer, &[FlowsRemapped]), external);
    object.census();
    object.expect_all_to_go();
}

/// RFC 4787 section 5, address-dependent: any port of whom the endpoint has sent to.
#[test]
fn who_was_sent_to_may_come_by_any_port() {
    let mut object = serving(TO_PEERS);
    let external = object.out(&Packet::udp(A, S), NEW);
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
    assert_eq!(object.meet(&Packet::udp(CLIENT, external), A, &[]), external);
    // TCP has its own peers.
    let tcp = object.out(&Packet::tcp(A, (SERVER2, 80), SYN), NEW);
    object.ingress(&Packet::tcp(CLIENT, tcp, SYN)).untouched(&[]);
    object.meet(&Packet::tcp(STRANGER, tcp, SYN), A, &[]);
    object.ingress(&Packet::udp(STRANGER, external)).untouched(&[]);
    // And so has every other endpoint of the instance.
    let other = object.out(&Packet::udp((VM1, 5001), (SERVER2, 80)), NEW);
    object.ingress(&Packet::udp(CLIENT, other)).untouched(&[]);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn a_peer_is_one_as_long_as_there_is_a_flow_to_it() {
    let mut object = serving(TO_PEERS);
    let (first, second) = (Packet::udp(A, S), Packet::udp(A, (SERVER2, 80)));
    let external = object.out(&first, NEW);
    object.out(&second, NEW);
    object.out(&Packet::udp(A, (SERVER, 9001)), NEW);
    object.kill(&[key_of(&first)]);
    object.let_pass(3);
    object.reap_all();
    object.meet(&Packet::udp(CLIENT, external), A, &[]);
    object.kill(&[key_of(&Packet::udp(A, CLIENT)), key_of(&Packet::udp(A, (SERVER, 9001)))]);
    object.let_pass(3);
    object.reap_all();
    object.idle(&second, 0);
    object.ingress(&Packet::udp(HIS_OTHER, external)).untouched(&[]);
    object.meet(&Packet::udp(STRANGER, external), A, &[]);
    object.census();
    object.expect_all_to_go();
}

/// RFC 4787 REQ-6: a stranger that goes on sending, by ever other ports, keeps no mapping alive that its owner has
/// left.
#[test]
fn strangers_keep_no_mapping_alive() {
    for flags in [RuleFlags::OPEN, RuleFlags::OPEN_TO_PEERS] {
        let mut object = serving(Rule { flags: flags | RuleFlags::OUTBOUND_REFRESH, ..PLAIN });
        let packet = Packet::udp(A, S);
        let external = object.out(&packet, NEW);
        let answer = Packet::udp(A, CLIENT);
        assert_eq!(object.meet(&Packet::udp(CLIENT, external), A, &[]), external);
        object.idle(&packet, TIMEOUT + 2);
        object.reap_all();
        object.let_pass(3);
        object.reap_all();
        assert!(object.entry(&key_of(&packet)).is_none());
        object.back(&Packet::udp(CLIENT, external), A);
        object.ingress(&Packet::udp(HIS_OTHER, external)).untouched(&[]);
        object.census();
        // Another translation of such a flow is one from inside, and holds what those hold.
        object.kill(&[key_of(&answer)]);
        assert_eq!(object.out(&answer, &[FlowsRemapped]), external);
        object.meet(&Packet::udp(HIS_OTHER, external), A, &[]);
        object.census();
        object.expect_all_to_go();
    }
}

/// The mapping was made when the port was free of sockets; nothing keeps the host from taking it later.
#[test]
fn what_a_socket_of_the_host_waits_for_is_the_hosts() {
    let mut object = serving(OPEN);
    lab::object::ip("route add default dev lo");
    let udp = object.out(&Packet::udp(A, S), NEW);
    let tcp = object.out(&Packet::tcp(A, S, SYN), NEW);
    let resolver = UdpSocket::bind(udp).expect("a socket");
    let _listener = TcpListener::bind(tcp).expect("a listener");
    object.ingress(&Packet::udp(STRANGER, udp)).untouched(&[]);
    object.ingress(&Packet::tcp(STRANGER, tcp, SYN)).untouched(&[]);
    object.ingress(&Packet::tcp(STRANGER, tcp, SYN | ACK)).untouched(&[]);
    // What the instance has begun goes on.
    object.back(&Packet::udp(S, udp), A);
    resolver.connect((SERVER2, 53)).expect("no packet is sent by that");
    object.ingress(&Packet::udp((SERVER2, 53), udp)).untouched(&[]);
    object.meet(&Packet::udp(CLIENT, udp), A, &[]);
}

#[test]
fn when_the_table_is_full_nothing_is_left_behind() {
    let mut object = Object::sized(Rule { max_flows: 9, ..TO_PEERS }, 3, 8);
    object.set_flags(UplinkFlags::SERVES);
    let external = object.out(&Packet::udp(A, S), NEW);
    object.back(&Packet::udp(S, external), A);
    object.back(&Packet::udp(CLIENT, external), A);
    assert_eq!(object.leave(&Packet::udp(A, CLIENT), &[]), external);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}
