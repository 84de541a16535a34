//! Port forwards.

use super::*;
use natbpf_common::contract::forwards::ForwardFlags;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;

#[test]
fn a_client_reaches_the_service_and_is_answered() {
    let mut object = forwarding();
    let request = Packet::udp(CLIENT, FORWARDED);
    object.back(&request, SERVICE);
    let answer = Packet::udp(SERVICE, CLIENT);
    assert_eq!(object.entries().len(), 0, "until it is answered it is no flow");
    assert_eq!(object.out(&answer, &[FlowsInbound]), FORWARDED);
    assert_eq!(object.pending().len(), 0);
    object.back(&request, SERVICE);
    assert_eq!(object.out(&answer, &[]), FORWARDED);
    assert!(status(&object, &answer).inbound() && status(&object, &answer).seen_reply());
    // Another port of the client, another client.
    for client in [HIS_OTHER, STRANGER] {
        assert_eq!(object.meet(&Packet::udp(client, FORWARDED), SERVICE, &[]), FORWARDED);
    }
    assert_eq!(object.census().flows, 3);
    object.expect_all_to_go();
}

#[test]
fn states_of_a_connection_are_those_of_conntrack() {
    let mut object = forwarding();
    let (to, from) =
        (|flags| Packet::tcp(CLIENT, FORWARDED, flags), |flags| Packet::tcp(SERVICE, CLIENT, flags));
    let pending = |object: &Object| {
        assert_eq!(object.entries().len(), 0);
        let [(key, pending)] = object.pending()[..] else { panic!("{:?}", object.pending()) };
        assert_eq!(key, key_of(&from(TcpFlags::empty())));
        let status = Status::from_word(pending.status);
        assert!(status.inbound() && !status.assured());
        State::from_number(status.state())
    };
    for _ in 0..2 {
        object.back(&to(SYN), SERVICE);
        assert_eq!(pending(&object), State::TcpSynSent);
    }
    for _ in 0..2 {
        assert_eq!(object.out(&from(SYN | ACK), &[]), FORWARDED);
        assert_eq!(pending(&object), State::TcpSynRecv);
    }
    object.enter(&to(ACK), SERVICE, &[FlowsInbound]);
    assert_eq!(object.pending().len(), 0);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpEstablished);
    assert!(status(&object, &from(TcpFlags::empty())).assured());
    object.back(&to(ACK | PSH), SERVICE);
    object.out(&from(ACK | PSH), &[]);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpEstablished);
    object.out(&from(FIN | ACK), &[]);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpFinWait);
    object.back(&to(ACK), SERVICE);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpCloseWait);
    object.back(&to(FIN | ACK), SERVICE);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpLastAck);
    object.out(&from(ACK), &[]);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpTimeWait);
    // The same client again, by the same port.
    object.back(&to(SYN), SERVICE);
    assert_eq!(object.state(&from(TcpFlags::empty())), State::TcpSynSent);
    let again = status(&object, &from(TcpFlags::empty()));
    assert!(again.inbound() && !again.seen_reply() && !again.assured());
    // Both entries say the same.
    let reply = object.reply_key(&from(TcpFlags::empty()));
    assert_eq!(object.entry(&reply).map(|entry| entry.status), Some(again.to_word()));
    object.expect_all_to_go();
}

#[test]
fn a_refused_connection_is_closed() {
    let mut object = forwarding();
    let refusal = Packet::tcp(SERVICE, CLIENT, RST | ACK);
    for _ in 0..2 {
        object.back(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE);
        assert_eq!(object.out(&refusal, &[]), FORWARDED);
        assert_eq!(object.entries().len(), 0, "a refused connection never is a flow");
    }
    // And is none that hinders the next one.
    object.meet(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[]);
    assert_eq!(object.state(&refusal), State::TcpEstablished);
}

#[test]
fn what_no_connection_begins_with_is_dropped() {
    let mut object = forwarding();
    for flags in [RST, RST | ACK, SYN | ACK, FIN | ACK] {
        object.ingress(&Packet::tcp(CLIENT, FORWARDED, flags)).dropped(TcpNoFlow);
    }
    object.ingress(&Packet::udp((SERVER, 0), FORWARDED)).dropped(Unsolicited);
    assert_eq!(object.entries().len(), 0);
    // In mid-stream: the gateway may have been restarted.
    let stream = Packet::tcp(CLIENT, FORWARDED, ACK | PSH);
    object.back(&stream, SERVICE);
    assert_eq!(object.out(&Packet::tcp(SERVICE, CLIENT, ACK), &[]), FORWARDED);
    assert_eq!(object.entries().len(), 0);
    object.enter(&stream, SERVICE, &[FlowsInbound]);
}

#[test]
fn only_what_is_forwarded() {
    let mut object = Object::default();
    object.forward(TCP, 8080, SERVICE);
    for other in [
        Packet::udp(CLIENT, FORWARDED),
        Packet::tcp(CLIENT, (GATEWAY, 8081), SYN),
        Packet::tcp(CLIENT, (SERVER2, 8080), SYN),
        Packet::echo(SERVER, GATEWAY, 8080),
        Packet::other(GRE, SERVER, GATEWAY),
    ] {
        object.ingress(&other).untouched(&[]);
    }
    // Nor by another uplink.
    object.set_uplinks(&[
        Uplink { flags: UplinkFlags::SERVES, ..uplink(LO, &["203.0.113.1/24"]) },
        uplink(7, &[]),
    ]);
    object.step(Hook::Ingress, &Packet::tcp(CLIENT, FORWARDED, SYN).bytes(), Context::on(LO)).translated(&[]);
    assert_eq!(object.pending().len(), 1);
}

/// A prefix of the port's bits is a range, and the offset is modulo 65536.
#[test]
fn ranges_of_ports() {
    let mut object = Object::default();
    let range = Forward {
        address: VM1.into(),
        port_offset: 1000_u16.wrapping_sub(8000),
        flags: ForwardFlags::empty(),
    };
    object.set_forward(ForwardKey::PORT_BITS - 4, (GATEWAY, 8000), UDP, range);
    object.set_flags(UplinkFlags::SERVES);
    for port in [8000, 8007, 8015] {
        let inside = (VM1, port - 7000);
        assert_eq!(object.meet(&Packet::udp(CLIENT, (GATEWAY, port)), inside, &[]), (GATEWAY, port));
    }
    for port in [7999, 8016] {
        object.ingress(&Packet::udp(CLIENT, (GATEWAY, port))).untouched(&[]);
    }
}

#[test]
fn no_flow_from_inside_gets_a_forwarded_port() {
    for rule in [PLAIN, Rule { flags: RuleFlags::PER_DESTINATION, ..PLAIN }] {
        let mut object = Object::new(rule);
        object.forward(UDP, 5000, (VM2, 7));
        object.forward(TCP, 5000, (VM2, 7));
        for packet in &one_of_each(A)[..2] {
            assert_ne!(object.out(packet, NEW_PORT).1, 5000);
        }
        // ICMP has no ports.
        object.out(&Packet::echo(VM1, SERVER, 5000), NEW);
    }
    let mut object = Object::new(to_ports(5000, 5001));
    object.forward(UDP, 5000, (VM2, 7));
    assert_eq!(object.out(&Packet::udp(A, S), NEW_PORT).1, 5001);
    let second = object.begin(&Packet::udp(B, (SERVER2, 1)), &[PortsOverlapped]);
    assert_eq!(second.1, 5001);
    // As long as there are others: then what belongs to a flow is the flow's, and the rest still leads to the service.
    let third = Packet::udp((VM2, 6000), S);
    let external = object.out(&third, &[FlowsCreated, PortsChanged, PortsOverlapped]);
    assert_eq!(external.1, 5000);
    object.back(&third.answer(external), (VM2, 6000));
    object.meet(&Packet::udp(CLIENT, external), (VM2, 7), &[]);
    object.egress(&Packet::udp((VM2, 6001), S)).dropped(NoPort);
    object.expect_all_to_go();
}

/// Its port outside is the one where others look for it.
#[test]
fn what_the_service_begins_leaves_by_its_forwarded_port() {
    for rule in [
        PLAIN,
        Rule { flags: RuleFlags::RANDOM, ..PLAIN },
        Rule { flags: RuleFlags::PER_DESTINATION, ..PLAIN },
    ] {
        let mut object = Object::new(rule);
        object.forward(UDP, FORWARDED.1, SERVICE);
        object.forward(TCP, FORWARDED.1, SERVICE);
        for packet in [Packet::udp(SERVICE, S), Packet::tcp(SERVICE, S, SYN)] {
            assert_eq!(object.out(&packet, NEW_PORT), FORWARDED);
            object.back(&packet.answer(FORWARDED).flags(SYN | ACK), SERVICE);
        }
        // The service goes on serving.
        assert_eq!(object.meet(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[]), FORWARDED);
        // Nobody else is forwarded, and the other one's port has nothing to do with it.
        assert_ne!(object.begin(&Packet::udp((VM1, 81), S), &[]), FORWARDED);
        assert_ne!(object.begin(&Packet::udp((VM2, 80), S), &[]), FORWARDED);
        object.census();
        object.expect_all_to_go();
    }
}

/// A "DMZ host": if flows avoided what is forwarded there would be nothing left for them.
#[test]
fn where_all_ports_are_forwarded_flows_begin_all_the_same() {
    for flags in [UplinkFlags::SERVES, UplinkFlags::SERVES | UplinkFlags::MOSTLY_FORWARDED] {
        let mut object = Object::default();
        let all = Forward { address: VM2.into(), port_offset: 0, flags: ForwardFlags::empty() };
        for protocol in [TCP, UDP] {
            object.set_forward(ForwardKey::PORT_BITS - 16, (GATEWAY, 0), protocol, all);
        }
        object.set_flags(flags);
        for packet in one_of_each(A) {
            // Where they are avoided they are the last resort, without a mapping.
            let shared = !flags.intersects(UplinkFlags::MOSTLY_FORWARDED) && packet.ip.protocol.0 != 1;
            let events = if shared { &[FlowsCreated, PortsOverlapped][..] } else { NEW };
            assert_eq!(object.out(&packet, events).1, 5000);
            object.back(&packet.answer((GATEWAY, 5000)), A);
        }
        for packet in &one_of_each(B)[..2] {
            let shared =
                if flags.intersects(UplinkFlags::MOSTLY_FORWARDED) { &[] } else { &[PortsOverlapped][..] };
            let external = object.begin(packet, shared);
            object.back(&packet.answer(external).flags(SYN | ACK), B);
        }
        // What is no flow's is the host's in the DMZ.
        object.meet(&Packet::udp(STRANGER, (GATEWAY, 5000)), (VM2, 5000), &[]);
        object.census();
        object.expect_all_to_go();
    }
}

/// They could not be told apart inside: one of the two has another port there.
#[test]
fn two_forwards_to_one_service_from_one_port() {
    let mut object = forwarding();
    let other: End = (GATEWAY, 8081);
    object.forward(UDP, other.1, SERVICE);
    object.forward(TCP, other.1, SERVICE);
    object.meet(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[]);
    let second = Packet::udp(CLIENT, other);
    let step = object.ingress(&second);
    let ((address, port), to) = lab::object::ends(&step.after).expect("an IPv4 packet");
    assert_eq!((address, to), (SERVER, SERVICE));
    assert!(port != CLIENT.1 && port >= 1024, "{port}");
    let seen = (SERVER, port);
    assert_eq!(step.translated(&[]), second.clone().with_source(seen).with_destination(SERVICE).bytes());
    let answer = Packet::udp(SERVICE, seen);
    let left = Packet::udp(other, CLIENT).bytes();
    assert_eq!(object.egress(&answer).translated(&[FlowsInbound]), left);
    assert_eq!(object.egress(&answer).translated(&[]), left);
    let inside = second.clone().with_source(seen).with_destination(SERVICE).bytes();
    assert_eq!(object.ingress(&second).translated(&[]), inside);
    assert_eq!(object.flow(&answer).outside_port, Port::new(CLIENT.1));
    // The first one goes on as it was.
    object.back(&Packet::udp(CLIENT, FORWARDED), SERVICE);
    assert_eq!(object.out(&Packet::udp(SERVICE, CLIENT), &[]), FORWARDED);
    // A connection, too, while the first one is not one yet.
    let (first, second) = (Packet::tcp(CLIENT, FORWARDED, SYN), Packet::tcp(CLIENT, other, SYN));
    object.back(&first, SERVICE);
    let after = object.ingress(&second).translated(&[]);
    let ((_, port), _) = lab::object::ends(&after).expect("an IPv4 packet");
    let seen = (SERVER, port);
    let answer = Packet::tcp(SERVICE, seen, SYN | ACK);
    let left = Packet::tcp(other, CLIENT, SYN | ACK).bytes();
    assert_eq!(object.egress(&answer).translated(&[]), left);
    let inside = Packet::tcp(seen, SERVICE, ACK).bytes();
    assert_eq!(object.ingress(&second.flags(ACK)).translated(&[FlowsInbound]), inside);
    assert_eq!(object.egress(&answer.flags(ACK)).translated(&[]), Packet::tcp(other, CLIENT, ACK).bytes());
    // An error about it quotes what was sent.
    let sent = Packet::tcp(other, CLIENT, ACK);
    let error = Packet::icmp_error(SERVER2, GATEWAY, 3, 4, 1280, &sent.ip_bytes());
    let inside = Packet::icmp_error(SERVER2, VM1, 3, 4, 1280, &Packet::tcp(SERVICE, seen, ACK).ip_bytes());
    assert_eq!(object.ingress(&error).translated(&[IcmpErrorsTranslated]), inside.bytes());
    assert_eq!(object.census().flows, 3);
    object.expect_all_to_go();
}

/// Nobody inside has said that he wants it.
#[test]
fn a_flood_of_strangers_leaves_the_table_as_it_was() {
    let mut object = Object::new(Rule { max_flows: 3, ..PLAIN });
    object.forward(UDP, FORWARDED.1, SERVICE);
    let running = Packet::udp(A, S);
    let external = object.out(&running, NEW);
    let frame = Packet::udp(CLIENT, FORWARDED).bytes();
    let runner = object.runner();
    for number in 0..100_000_u32 {
        let mut frame = frame.clone();
        // Another address each; nothing looks at checksums.
        frame[14 + 12 + 1..14 + 12 + 4].copy_from_slice(&number.to_be_bytes()[1..]);
        assert_eq!(runner.run(Hook::Ingress, &frame, Context::default()).0, Verdict::Pass);
    }
    assert_eq!(object.census(), Census { flows: 1, orphans: 0, mappings: 1 });
    assert!(object.pending().len() <= natbpf_common::nat::pending::MAX_PENDING);
    object.back(&running.answer(external), A);
    // And the latest are answered.
    assert_eq!(object.meet(&Packet::udp(STRANGER, FORWARDED), SERVICE, &[]), FORWARDED);
    object.expect_all_to_go();
}

/// He pays for nothing and nobody pays for him; a connection that its client leaves half open is none.
#[test]
fn strangers_who_wait_are_charged_to_nobody() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.forward(UDP, FORWARDED.1, SERVICE);
    object.forward(TCP, FORWARDED.1, SERVICE);
    for port in 1..=50 {
        object.back(&Packet::udp((SERVER, port), FORWARDED), SERVICE);
        object.back(&Packet::tcp((SERVER, port), FORWARDED, SYN), SERVICE);
        object.out(&Packet::tcp(SERVICE, (SERVER, port), SYN | ACK), &[]);
    }
    assert_eq!((object.entries().len(), object.mappings().len(), object.pending().len()), (0, 0, 100));
    object.out(&Packet::udp(SERVICE, (SERVER, 1)), &[FlowsInbound]);
    // There is no room for a second one: it is answered, and is no flow.
    object.leave(&Packet::udp(SERVICE, (SERVER, 2)), &[]);
    object.back(&Packet::tcp((SERVER, 3), FORWARDED, ACK), SERVICE);
    assert_eq!(object.census().flows, 1);
    object.let_pass(31);
    // Then they are forgotten, and what comes late from inside is what the inside begins.
    assert_eq!(object.out(&Packet::udp(SERVICE, (SERVER, 3)), NEW_PORT), FORWARDED);
    object.egress(&Packet::tcp(SERVICE, (SERVER, 4), SYN | ACK)).dropped(TcpNoFlow);
    object.census();
    object.expect_all_to_go();
}

/// The instance's own connection to a client's port, of whom it has an open question.
#[test]
fn a_connection_from_inside_answers_no_stranger() {
    let mut object = forwarding();
    object.back(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE);
    let own = Packet::tcp(SERVICE, CLIENT, SYN);
    assert_eq!(object.out(&own, NEW_PORT), FORWARDED);
    assert!(!status(&object, &own).inbound());
    object.census();
}

/// The instance had the port first: its flows keep it, its next ones get another.
#[test]
fn a_forward_that_comes_after_a_mapping() {
    let mut object = Object::default();
    let running = Packet::udp(A, S);
    let external = object.out(&running, NEW);
    object.forward(UDP, 5000, (VM2, 7));
    assert_eq!(object.out(&running, &[]), external);
    object.back(&running.answer(external), A);
    let next = object.out(&Packet::udp(A, (SERVER2, 1)), NEW_PORT);
    assert_ne!(next.1, 5000);
    object.meet(&Packet::udp(STRANGER, (GATEWAY, 5000)), (VM2, 7), &[]);
    object.expect_all_to_go();
}

#[test]
fn a_flow_whose_time_is_over_begins_anew() {
    let mut object = forwarding();
    let (request, answer) = (Packet::udp(CLIENT, FORWARDED), Packet::udp(SERVICE, CLIENT));
    object.meet(&request, SERVICE, &[]);
    object.idle(&answer, 100);
    assert_eq!(object.out(&answer, &[]), FORWARDED, "the instance may go on with it");
    assert!(!status(&object, &answer).inbound() && !status(&object, &answer).seen_reply());
    object.back(&request, SERVICE);
    // And so may who began it.
    object.idle(&answer, 100);
    object.back(&request, SERVICE);
    assert_eq!(object.pending().len(), 1);
    assert_eq!(object.out(&answer, &[]), FORWARDED);
    // Also while the reaper is at it.
    object.idle(&answer, 100);
    object.reap_all();
    object.back(&request, SERVICE);
    assert_eq!(object.out(&answer, &[]), FORWARDED);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}

#[test]
fn a_late_answer_of_a_connection_that_is_over_is_dropped() {
    let mut object = forwarding();
    let answer = Packet::tcp(SERVICE, CLIENT, SYN | ACK);
    object.meet(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[]);
    object.idle(&answer, 100);
    object.egress(&answer).dropped(TcpNoFlow);
    // And of one that never came to be.
    object.expect_all_to_go();
    object.back(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE);
    object.let_pass(29);
    object.out(&answer, &[]);
    object.let_pass(31);
    object.egress(&answer).dropped(TcpNoFlow);
}

#[test]
fn a_flow_that_is_ended_comes_again_by_its_client() {
    let mut object = forwarding();
    // The answer meets the old flow, which nobody has taken out yet.
    let request = Packet::udp(CLIENT, FORWARDED);
    object.meet(&request, SERVICE, &[]);
    assert_eq!(object.kill(&[key_of(&Packet::udp(SERVICE, CLIENT))]), 1);
    assert_eq!(object.meet(&request, SERVICE, &[]), FORWARDED);
    let request = Packet::tcp(CLIENT, FORWARDED, SYN);
    object.meet(&request, SERVICE, &[]);
    assert_eq!(object.kill(&[key_of(&Packet::tcp(SERVICE, CLIENT, TcpFlags::empty()))]), 1);
    assert_eq!(object.meet(&request, SERVICE, &[]), FORWARDED);
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

/// As after `conntrack -D`: what the instance sends begins a flow of its own, by the port where its peers
/// look for it, and never by that of another's forward.
#[test]
fn a_flow_that_is_ended_and_goes_on_from_inside_is_another() {
    let mut object = forwarding();
    object.forward(UDP, 80, (VM2, 7));
    let (request, answer) = (Packet::udp(CLIENT, FORWARDED), Packet::udp(SERVICE, CLIENT));
    object.meet(&request, SERVICE, &[]);
    object.kill(&[key_of(&answer)]);
    let external = object.out(&answer, &[FlowsRemapped, PortsChanged]);
    assert_eq!(external, FORWARDED);
    assert!(!status(&object, &answer).inbound());
    object.back(&answer.answer(external), SERVICE);
    assert_eq!(object.census().flows, 1);
    let other = object.out(&Packet::udp((VM1, 8080), CLIENT), NEW_PORT);
    assert!(other.1 != FORWARDED.1 && other.1 != 80, "{other:?}");
    object.expect_all_to_go();
}

#[test]
fn the_hosts_listener_gives_way_and_its_connection_does_not() {
    let mut object = forwarding();
    lab::object::ip("route add default dev lo");
    let _listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, FORWARDED.1)).expect("a listener");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, FORWARDED.1)).expect("a socket");
    object.meet(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[]);
    object.meet(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[]);
    socket.connect(STRANGER).expect("no packet is sent by that");
    object.ingress(&Packet::udp(STRANGER, FORWARDED)).untouched(&[]);
    object.meet(&Packet::udp(HIS_OTHER, FORWARDED), SERVICE, &[]);
}

#[test]
fn when_the_table_is_full_nothing_is_left_behind() {
    let mut object = Object::sized(Rule { max_flows: 9, ..PLAIN }, 3, 8);
    object.forward(UDP, FORWARDED.1, SERVICE);
    object.meet(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[]);
    // There is room for one more entry: the second one of the flow fails, when it is answered.
    object.back(&Packet::udp(STRANGER, FORWARDED), SERVICE);
    assert_eq!(object.leave(&Packet::udp(SERVICE, STRANGER), &[]), FORWARDED);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}
