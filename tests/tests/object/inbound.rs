//! Flows that begin outside: by a port forward, by a mapping that lets strangers in, and toward an instance's own address.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use lab::object::{
    Census, Context, End, LO, NEW, NEW_PORT, Object, PLAIN, Packet, TIMEOUT, Verdict, key_of, to_ports,
    uplink,
};
use lab::{GATEWAY, INSIDE, SERVER, SERVER2, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::Port;
use natbpf_common::config::{Forward, ForwardKey, Rule, Uplink};
use natbpf_common::counter::Counter::{
    FlowsCreated, FlowsInbound, FlowsRemapped, HostReserved, IcmpErrorsTranslated, NoPort, PortsChanged,
    PortsOverlapped, Quota, TableFull, TcpNoFlow, Unsolicited,
};
use natbpf_common::flow::{FlowEntry, Status};
use natbpf_common::protocol::{GRE, TCP, UDP};
use natbpf_common::state::State;
use natbpf_common::tcp::{ACK, FIN, PSH, RST, SYN};

use super::{A, B, S, one_of_each};

/// Who comes from outside, another port of his, and somebody else.
const CLIENT: End = (SERVER, 40000);
const HIS_OTHER: End = (SERVER, 40001);
const STRANGER: End = (SERVER2, 40000);
/// The instance's service, and where the outside finds it.
const SERVICE: End = (VM1, 80);
const FORWARDED: End = (GATEWAY, 8080);

const OPEN: Rule = Rule { flags: Rule::OPEN, ..PLAIN };
const TO_PEERS: Rule = Rule { flags: Rule::OPEN_TO_PEERS, ..PLAIN };

fn forwarding() -> Object {
    let mut object = Object::default();
    object.forward(TCP, FORWARDED.1, SERVICE);
    object.forward(UDP, FORWARDED.1, SERVICE);
    object
}

/// With a rule that lets strangers in.
fn serving(rule: Rule) -> Object {
    let mut object = Object::new(rule);
    object.set_flags(Uplink::SERVES);
    object
}

fn status(object: &Object, answer: &Packet) -> Status {
    Status::from_word(object.flow(answer).status)
}

mod forwards {
    use super::*;

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
            assert_eq!(key, key_of(&from(0)));
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
        assert_eq!(object.state(&from(0)), State::TcpEstablished);
        assert!(status(&object, &from(0)).assured());
        object.back(&to(ACK | PSH), SERVICE);
        object.out(&from(ACK | PSH), &[]);
        assert_eq!(object.state(&from(0)), State::TcpEstablished);
        object.out(&from(FIN | ACK), &[]);
        assert_eq!(object.state(&from(0)), State::TcpFinWait);
        object.back(&to(ACK), SERVICE);
        assert_eq!(object.state(&from(0)), State::TcpCloseWait);
        object.back(&to(FIN | ACK), SERVICE);
        assert_eq!(object.state(&from(0)), State::TcpLastAck);
        object.out(&from(ACK), &[]);
        assert_eq!(object.state(&from(0)), State::TcpTimeWait);
        // The same client again, by the same port.
        object.back(&to(SYN), SERVICE);
        assert_eq!(object.state(&from(0)), State::TcpSynSent);
        let again = status(&object, &from(0));
        assert!(again.inbound() && !again.seen_reply() && !again.assured());
        // Both entries say the same.
        let reply = object.reply_key(&from(0));
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
            Uplink { flags: Uplink::SERVES, ..uplink(LO, &["203.0.113.1/24"]) },
            uplink(7, &[]),
        ]);
        object
            .step(Hook::Ingress, &Packet::tcp(CLIENT, FORWARDED, SYN).bytes(), Context::on(LO))
            .translated(&[]);
        assert_eq!(object.pending().len(), 1);
    }

    /// A prefix of the port's bits is a range, and the offset is modulo 65536.
    #[test]
    fn ranges_of_ports() {
        let mut object = Object::default();
        let range = Forward { address: VM1.into(), port_offset: 1000_u16.wrapping_sub(8000), flags: 0 };
        object.set_forward(ForwardKey::PORT_BITS - 4, (GATEWAY, 8000), UDP, range);
        object.set_flags(Uplink::SERVES);
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
        for rule in [PLAIN, Rule { flags: Rule::PER_DESTINATION, ..PLAIN }] {
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
        for rule in
            [PLAIN, Rule { flags: Rule::RANDOM, ..PLAIN }, Rule { flags: Rule::PER_DESTINATION, ..PLAIN }]
        {
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
        for flags in [Uplink::SERVES, Uplink::SERVES | Uplink::MOSTLY_FORWARDED] {
            let mut object = Object::default();
            let all = Forward { address: VM2.into(), port_offset: 0, flags: 0 };
            for protocol in [TCP, UDP] {
                object.set_forward(ForwardKey::PORT_BITS - 16, (GATEWAY, 0), protocol, all);
            }
            object.set_flags(flags);
            for packet in one_of_each(A) {
                // Where they are avoided they are the last resort, without a mapping.
                let shared = flags & Uplink::MOSTLY_FORWARDED == 0 && packet.ip.protocol.0 != 1;
                let events = if shared { &[FlowsCreated, PortsOverlapped][..] } else { NEW };
                assert_eq!(object.out(&packet, events).1, 5000);
                object.back(&packet.answer((GATEWAY, 5000)), A);
            }
            for packet in &one_of_each(B)[..2] {
                let shared = if flags & Uplink::MOSTLY_FORWARDED == 0 { &[PortsOverlapped][..] } else { &[] };
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
        assert_eq!(
            object.egress(&answer.flags(ACK)).translated(&[]),
            Packet::tcp(other, CLIENT, ACK).bytes()
        );
        // An error about it quotes what was sent.
        let sent = Packet::tcp(other, CLIENT, ACK);
        let error = Packet::icmp_error(SERVER2, GATEWAY, 3, 4, 1280, &sent.ip_bytes());
        let inside =
            Packet::icmp_error(SERVER2, VM1, 3, 4, 1280, &Packet::tcp(SERVICE, seen, ACK).ip_bytes());
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
        assert!(object.pending().len() <= natbpf_common::pending::MAX_PENDING);
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
        // The second one is refused where it would begin.
        object.egress(&Packet::udp(SERVICE, (SERVER, 2))).dropped(Quota);
        object.ingress(&Packet::tcp((SERVER, 3), FORWARDED, ACK)).dropped(Quota);
        object.let_pass(31);
        // Then they are forgotten, and what comes late from inside is what the inside begins.
        object.egress(&Packet::udp(SERVICE, (SERVER, 3))).dropped(Quota);
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
        assert_eq!(object.kill(&[key_of(&Packet::tcp(SERVICE, CLIENT, 0))]), 1);
        assert_eq!(object.meet(&request, SERVICE, &[]), FORWARDED);
        assert_eq!(object.census().flows, 2);
        object.expect_all_to_go();
    }

    /// As after `conntrack -D`: what the instance sends begins a flow of its own, by the port where its peers look for it, and never by
    /// that of another's forward.
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
        object.egress(&Packet::udp(SERVICE, STRANGER)).dropped(TableFull);
        assert_eq!(object.census().flows, 1);
        object.expect_all_to_go();
    }
}

mod mappings {
    use super::*;

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
            step.dropped(if flags & ACK != 0 && flags & (SYN | FIN) == 0 { Unsolicited } else { TcpNoFlow });
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

    /// RFC 4787 REQ-6: whoever goes on sending, by ever other ports, does not keep a mapping alive that its owner has left.
    #[test]
    fn strangers_keep_no_mapping_alive() {
        for flags in [Rule::OPEN, Rule::OPEN_TO_PEERS] {
            let mut object = serving(Rule { flags: flags | Rule::OUTBOUND_REFRESH, ..PLAIN });
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
        object.set_flags(Uplink::SERVES);
        let external = object.out(&Packet::udp(A, S), NEW);
        object.back(&Packet::udp(S, external), A);
        object.back(&Packet::udp(CLIENT, external), A);
        object.egress(&Packet::udp(A, CLIENT)).dropped(TableFull);
        object.census();
        object.expect_all_to_go();
    }
}

/// RFC 4787 REQ-6.
mod refreshing {
    use super::*;

    /// How long the flow has been idle after an answer came; it was for five seconds.
    fn after_an_answer(rule: Rule) -> u64 {
        let mut object = Object::new(rule);
        let packet = Packet::udp(A, S);
        let external = object.out(&packet, NEW);
        object.idle(&packet, 5);
        object.back(&packet.answer(external), A);
        object.back(&packet.answer(external), A);
        object.idle_seconds(&key_of(&packet))
    }

    #[test]
    fn what_comes_from_outside_keeps_a_flow_or_not() {
        assert_eq!(after_an_answer(PLAIN), 0);
        assert!(after_an_answer(Rule { flags: Rule::OUTBOUND_REFRESH, ..PLAIN }) >= 5);
    }

    #[test]
    fn a_flow_that_only_the_outside_uses_ends() {
        let mut object = Object::new(Rule { flags: Rule::OUTBOUND_REFRESH, ..PLAIN });
        let packet = Packet::udp(A, S);
        let external = object.out(&packet, NEW);
        for _ in 0..3 {
            // The entry of the reply direction asks once a second.
            object.idle_entry(&object.reply_key(&packet), 2);
            object.back(&packet.answer(external), A);
        }
        object.idle(&packet, 100);
        object.idle_entry(&object.reply_key(&packet), 2);
        object.ingress(&packet.answer(external)).untouched(&[]);
        // What the instance sends keeps it.
        assert_eq!(object.out(&packet, &[]), external);
        object.back(&packet.answer(external), A);
        assert_eq!(object.idle_seconds(&key_of(&packet)), 0);
    }

    #[test]
    fn states_go_on_whoever_sends() {
        let mut object = Object::new(Rule { flags: Rule::OUTBOUND_REFRESH, ..PLAIN });
        let packet = Packet::tcp(A, S, SYN);
        let external = object.out(&packet, NEW);
        object.back(&Packet::tcp(S, external, SYN | ACK), A);
        assert_eq!(object.state(&packet), State::TcpSynRecv);
        object.out(&Packet::tcp(A, S, ACK), &[]);
        object.back(&Packet::tcp(S, external, FIN | ACK), A);
        assert_eq!(object.state(&packet), State::TcpFinWait);
    }
}

/// As netfilter's NAT, which looks at the first packet of a connection alone.
mod toward_inside_addresses {
    use super::*;

    #[test]
    fn an_answer_is_not_masqueraded() {
        let mut object = Object::default();
        for (question, answer) in [
            (Packet::tcp(CLIENT, A, SYN), Packet::tcp(A, CLIENT, SYN | ACK)),
            (Packet::udp(CLIENT, A), Packet::udp(A, CLIENT)),
            (Packet::echo(SERVER, VM1, 9), Packet::icmp(VM1, SERVER, 0, 9)),
            (Packet::other(GRE, SERVER, VM1), Packet::other(GRE, VM1, SERVER)),
        ] {
            object.ingress(&question).untouched(&[]);
            assert_eq!(object.pending().len(), 1);
            let is_tcp = answer.ip.protocol.0 == TCP;
            let (first, second): (&[_], &[_]) =
                if is_tcp { (&[], &[FlowsInbound]) } else { (&[FlowsInbound], &[]) };
            object.egress(&answer).untouched(first);
            object.ingress(&question.flags(ACK)).untouched(second);
            assert_eq!(object.pending().len(), 0);
            object.egress(&answer).untouched(&[]);
            let mut key = key_of(&answer);
            if answer.ip.protocol.0 == 1 {
                // As the key of a reply has it.
                (key.source_port, key.destination_port) = (Port::new(8), Port::new(9));
            }
            assert!(object.entry(&key).is_some_and(|entry| entry.traits & FlowEntry::UNTRANSLATED != 0));
        }
        assert_eq!(object.census().mappings, 0);
        object.expect_all_to_go();
    }

    #[test]
    fn states_of_such_a_connection() {
        let mut object = Object::default();
        let (to, from) = (|flags| Packet::tcp(CLIENT, A, flags), |flags| Packet::tcp(A, CLIENT, flags));
        object.ingress(&to(SYN)).untouched(&[]);
        object.egress(&from(SYN | ACK)).untouched(&[]);
        object.ingress(&to(ACK)).untouched(&[FlowsInbound]);
        assert_eq!(object.state(&from(0)), State::TcpEstablished);
        object.egress(&from(FIN | ACK)).untouched(&[]);
        object.ingress(&to(FIN | ACK)).untouched(&[]);
        object.egress(&from(ACK)).untouched(&[]);
        assert_eq!(object.state(&from(0)), State::TcpTimeWait);
    }

    #[test]
    fn when_its_time_is_over_the_instance_is_masqueraded_again() {
        let mut object = Object::default();
        let answer = Packet::udp(A, CLIENT);
        for end in [0, 1] {
            object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
            object.egress(&answer).untouched(&[FlowsInbound]);
            match end {
                0 => object.idle(&answer, 100),
                _ => assert_eq!(object.kill(&[key_of(&answer)]), 1),
            }
            assert_eq!(object.out(&answer, &[FlowsRemapped]), (GATEWAY, A.1));
            assert_eq!(object.flow(&answer).traits & FlowEntry::UNTRANSLATED, 0);
            object.back(&Packet::udp(CLIENT, (GATEWAY, A.1)), A);
            object.expect_all_to_go();
        }
        // A connection in mid-stream too; what begins none is dropped.
        object.ingress(&Packet::tcp(CLIENT, A, SYN)).untouched(&[]);
        object.egress(&Packet::tcp(A, CLIENT, SYN | ACK)).untouched(&[]);
        object.ingress(&Packet::tcp(CLIENT, A, ACK)).untouched(&[FlowsInbound]);
        object.idle(&Packet::tcp(A, CLIENT, 0), 100);
        object.egress(&Packet::tcp(A, CLIENT, SYN | ACK)).dropped(TcpNoFlow);
        object.out(&Packet::tcp(A, CLIENT, ACK), &[FlowsRemapped]);
        object.expect_all_to_go();
    }

    /// The instance began it, masqueraded: so it stays.
    #[test]
    fn a_running_flow_of_the_instance_is_not_turned_round() {
        let mut object = Object::default();
        let packet = Packet::udp(A, CLIENT);
        let external = object.out(&packet, NEW);
        for _ in 0..3 {
            object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
            assert_eq!(object.out(&packet, &[]), external);
            object.back(&packet.answer(external), A);
        }
        object.expect_all_to_go();
    }

    #[test]
    fn only_of_what_would_be_masqueraded() {
        let mut object = Object::default();
        object.ingress(&Packet::udp(CLIENT, (Ipv4Addr::new(192, 0, 2, 7), 5))).untouched(&[]);
        object.set_rules(&[(LO, INSIDE, Rule { id: 1, ..PLAIN })], &[(1, "203.0.113.10/32")]);
        object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
        object.egress(&Packet::udp(A, CLIENT)).untouched(&[]);
        assert_eq!(object.pending().len(), 0);
        object.ingress(&Packet::udp(STRANGER, A)).untouched(&[]);
        object.egress(&Packet::udp(A, STRANGER)).untouched(&[FlowsInbound]);
        assert_eq!(object.census().flows, 1);
    }

    #[test]
    fn what_begins_nothing_begins_nothing() {
        let mut object = Object::default();
        for packet in [
            Packet::tcp(CLIENT, A, RST),
            Packet::tcp(CLIENT, A, SYN | ACK),
            Packet::tcp(CLIENT, A, FIN | ACK),
            Packet::udp((SERVER, 0), A),
            Packet::icmp(SERVER, VM1, 0, 5),
            Packet::icmp(SERVER, VM1, 40, 5),
        ] {
            object.ingress(&packet).untouched(&[]);
        }
        assert_eq!((object.entries().len(), object.pending().len()), (0, 0));
    }

    /// With a rule for every source all that is said on the link would be a flow.
    #[test]
    fn broadcasts_and_multicasts_begin_nothing() {
        let mut object = Object::default();
        object.set_rules(&[(LO, "0.0.0.0/0", PLAIN)], &[]);
        for (mac, address) in [
            ([0xff; 6], Ipv4Addr::BROADCAST),
            ([0xff; 6], Ipv4Addr::new(203, 0, 113, 255)),
            ([1, 0, 0x5e, 0, 0, 0xfb], Ipv4Addr::new(224, 0, 0, 251)),
        ] {
            let mut frame = Packet::udp((SERVER, 5353), (address, 5353)).bytes();
            frame[..6].copy_from_slice(&mac);
            object.step(Hook::Ingress, &frame, Context::default()).untouched(&[]);
        }
        assert_eq!((object.entries().len(), object.pending().len()), (0, 0));
        object.ingress(&Packet::udp(CLIENT, A)).untouched(&[]);
        assert_eq!(object.pending().len(), 1);
    }
}

/// RFC 5382 REQ-4a.
mod silence {
    use super::*;

    #[test]
    fn a_syn_for_nobody_is_not_answered() {
        for flags in [Uplink::SILENT, Uplink::SILENT | Uplink::SERVES] {
            let mut object = Object::default();
            object.set_flags(flags);
            object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).dropped(Unsolicited);
            let _listener = TcpListener::bind((GATEWAY, 4000)).expect("a listener");
            object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).untouched(&[]);
            // Of what is no SYN the host is the judge.
            for flags in [ACK, SYN | ACK, RST] {
                object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4001), flags)).untouched(&[]);
            }
            object.ingress(&Packet::udp(CLIENT, (GATEWAY, 4000))).untouched(&[]);
            object.ingress(&Packet::echo(SERVER, GATEWAY, 5)).untouched(&[]);
            object.ingress(&Packet::other(GRE, SERVER, GATEWAY)).untouched(&[]);
            object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[HostReserved]);
        }
        let mut object = Object::default();
        object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).untouched(&[]);
    }

    #[test]
    fn flows_and_forwards_are_wanted() {
        let mut object = forwarding();
        object.set_flags(Uplink::SILENT | Uplink::SERVES);
        object.meet(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[]);
        let external = object.out(&Packet::tcp(A, S, SYN), NEW);
        // A simultaneous open.
        object.back(&Packet::tcp(S, external, SYN), A);
        object.ingress(&Packet::tcp(STRANGER, external, SYN)).dropped(Unsolicited);
    }
}
