//! Flows that begin outside: by a port forward, by a mapping that lets strangers in, and toward an instance's own address.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use lab::object::{
    Context, End, LO, NEW, NEW_PORT, Object, PLAIN, Packet, TIMEOUT, key_of, to_ports, uplink,
};
use lab::{GATEWAY, INSIDE, SERVER, SERVER2, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::Port;
use natbpf_common::config::{Forward, ForwardKey, Rule, Uplink};
use natbpf_common::counter::Counter::{
    FlowsInbound, FlowsRemapped, HostReserved, NoPort, PortsChanged, PortsOverlapped, TableFull, TcpNoFlow,
    Unsolicited,
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
        object.enter(&request, SERVICE, &[FlowsInbound]);
        let answer = Packet::udp(SERVICE, CLIENT);
        assert_eq!(object.out(&answer, &[]), FORWARDED);
        object.back(&request, SERVICE);
        assert!(status(&object, &answer).inbound() && status(&object, &answer).seen_reply());
        // Another port of the client, another client.
        for client in [HIS_OTHER, STRANGER] {
            object.enter(&Packet::udp(client, FORWARDED), SERVICE, &[FlowsInbound]);
            assert_eq!(object.out(&Packet::udp(SERVICE, client), &[]), FORWARDED);
        }
        assert_eq!(object.census().flows, 3);
        object.expect_all_to_go();
    }

    #[test]
    fn states_of_a_connection_are_those_of_conntrack() {
        let mut object = forwarding();
        let (to, from) =
            (|flags| Packet::tcp(CLIENT, FORWARDED, flags), |flags| Packet::tcp(SERVICE, CLIENT, flags));
        object.enter(&to(SYN), SERVICE, &[FlowsInbound]);
        assert_eq!(object.state(&from(0)), State::TcpSynSent);
        object.out(&from(SYN | ACK), &[]);
        assert_eq!(object.state(&from(0)), State::TcpSynRecv);
        assert!(!status(&object, &from(0)).assured());
        object.back(&to(ACK), SERVICE);
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
        object.enter(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[FlowsInbound]);
        let refusal = Packet::tcp(SERVICE, CLIENT, RST | ACK);
        assert_eq!(object.out(&refusal, &[]), FORWARDED);
        assert_eq!(object.state(&refusal), State::TcpClose);
        object.back(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE);
        assert_eq!(object.state(&refusal), State::TcpSynSent);
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
        object.enter(&Packet::tcp(CLIENT, FORWARDED, ACK | PSH), SERVICE, &[FlowsInbound]);
        assert_eq!(object.out(&Packet::tcp(SERVICE, CLIENT, ACK), &[]), FORWARDED);
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
            .translated(&[FlowsInbound]);
        assert_eq!(object.census().flows, 1);
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
            object.enter(&Packet::udp(CLIENT, (GATEWAY, port)), inside, &[FlowsInbound]);
            assert_eq!(object.out(&Packet::udp(inside, CLIENT), &[]), (GATEWAY, port));
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
        object.egress(&Packet::udp((VM2, 6000), S)).dropped(NoPort);
        object.expect_all_to_go();
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
        object.enter(&Packet::udp(STRANGER, (GATEWAY, 5000)), (VM2, 7), &[FlowsInbound]);
        object.expect_all_to_go();
    }

    #[test]
    fn a_flow_whose_time_is_over_begins_anew() {
        let mut object = forwarding();
        let (request, answer) = (Packet::udp(CLIENT, FORWARDED), Packet::udp(SERVICE, CLIENT));
        object.enter(&request, SERVICE, &[FlowsInbound]);
        object.out(&answer, &[]);
        object.idle(&answer, 100);
        object.enter(&request, SERVICE, &[FlowsInbound]);
        assert!(!status(&object, &answer).seen_reply());
        object.idle(&answer, 100);
        assert_eq!(object.out(&answer, &[]), FORWARDED, "the instance may go on with it");
        assert!(!status(&object, &answer).inbound());
        object.back(&request, SERVICE);
        // Also while the reaper is at it.
        object.idle(&answer, 100);
        object.reap_all();
        object.enter(&request, SERVICE, &[FlowsInbound]);
        assert_eq!(object.census().flows, 1);
        object.expect_all_to_go();
    }

    #[test]
    fn a_late_answer_of_a_connection_that_is_over_is_dropped() {
        let mut object = forwarding();
        object.enter(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[FlowsInbound]);
        let answer = Packet::tcp(SERVICE, CLIENT, SYN | ACK);
        object.idle(&answer, 100);
        object.egress(&answer).dropped(TcpNoFlow);
    }

    #[test]
    fn a_flow_that_is_ended_comes_again_by_its_client() {
        let mut object = forwarding();
        for (request, answer) in [
            (Packet::udp(CLIENT, FORWARDED), Packet::udp(SERVICE, CLIENT)),
            (Packet::tcp(CLIENT, FORWARDED, SYN), Packet::tcp(SERVICE, CLIENT, SYN | ACK)),
        ] {
            object.enter(&request, SERVICE, &[FlowsInbound]);
            assert_eq!(object.kill(&[key_of(&answer)]), 1);
            object.enter(&request, SERVICE, &[FlowsInbound]);
            assert_eq!(object.out(&answer, &[]), FORWARDED);
        }
        assert_eq!(object.census().flows, 2);
        object.expect_all_to_go();
    }

    /// As after `conntrack -D`: what the instance sends begins a flow of its own, and never by a forwarded port.
    #[test]
    fn a_flow_that_is_ended_and_goes_on_from_inside_is_another() {
        let mut object = forwarding();
        object.forward(UDP, 80, (VM2, 7));
        let (request, answer) = (Packet::udp(CLIENT, FORWARDED), Packet::udp(SERVICE, CLIENT));
        object.enter(&request, SERVICE, &[FlowsInbound]);
        object.kill(&[key_of(&answer)]);
        let external = object.out(&answer, &[FlowsRemapped, PortsChanged]);
        assert!(external.1 != FORWARDED.1 && external.1 != 80, "{external:?}");
        assert!(!status(&object, &answer).inbound());
        object.back(&answer.answer(external), SERVICE);
        assert_eq!(object.census().flows, 1);
        object.expect_all_to_go();
    }

    #[test]
    fn the_hosts_listener_gives_way_and_its_connection_does_not() {
        let mut object = forwarding();
        lab::object::ip("route add default dev lo");
        let _listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, FORWARDED.1)).expect("a listener");
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, FORWARDED.1)).expect("a socket");
        object.enter(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[FlowsInbound]);
        object.enter(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[FlowsInbound]);
        socket.connect(STRANGER).expect("no packet is sent by that");
        object.ingress(&Packet::udp(STRANGER, FORWARDED)).untouched(&[]);
        object.enter(&Packet::udp(HIS_OTHER, FORWARDED), SERVICE, &[FlowsInbound]);
    }

    #[test]
    fn when_the_table_is_full_nothing_is_left_behind() {
        let mut object = Object::sized(Rule { max_flows: 9, ..PLAIN }, 3, 8);
        object.forward(UDP, FORWARDED.1, SERVICE);
        object.enter(&Packet::udp(CLIENT, FORWARDED), SERVICE, &[FlowsInbound]);
        // There is room for one more entry: the second one of the flow fails.
        object.ingress(&Packet::udp(STRANGER, FORWARDED)).dropped(TableFull);
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
            object.enter(&packet, B, &[FlowsInbound]);
            assert_eq!(object.out(&Packet::udp(B, stranger), &[]), external);
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
        object.enter(&Packet::tcp(STRANGER, external, SYN), A, &[FlowsInbound]);
        let answer = Packet::tcp(A, STRANGER, SYN | ACK);
        assert_eq!(object.out(&answer, &[]), external);
        object.back(&Packet::tcp(STRANGER, external, ACK), A);
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
        object.enter(&packet, A, &[FlowsInbound]);
        for _ in 0..3 {
            object.idle(&answer, 100);
            object.enter(&packet, A, &[FlowsInbound]);
            object.kill(&[key_of(&answer)]);
            object.enter(&packet, A, &[FlowsInbound]);
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
        object.enter(&Packet::udp(CLIENT, external), A, &[FlowsInbound]);
        assert_eq!(object.out(&Packet::udp(A, CLIENT), &[]), external);
        // TCP has its own peers.
        let tcp = object.out(&Packet::tcp(A, (SERVER2, 80), SYN), NEW);
        object.ingress(&Packet::tcp(CLIENT, tcp, SYN)).untouched(&[]);
        object.enter(&Packet::tcp(STRANGER, tcp, SYN), A, &[FlowsInbound]);
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
        object.enter(&Packet::udp(CLIENT, external), A, &[FlowsInbound]);
        object.kill(&[key_of(&Packet::udp(A, CLIENT)), key_of(&Packet::udp(A, (SERVER, 9001)))]);
        object.let_pass(3);
        object.reap_all();
        object.idle(&second, 0);
        object.ingress(&Packet::udp(HIS_OTHER, external)).untouched(&[]);
        object.enter(&Packet::udp(STRANGER, external), A, &[FlowsInbound]);
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
            object.enter(&Packet::udp(CLIENT, external), A, &[FlowsInbound]);
            let answer = Packet::udp(A, CLIENT);
            assert_eq!(object.out(&answer, &[]), external);
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
            object.enter(&Packet::udp(HIS_OTHER, external), A, &[FlowsInbound]);
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
        object.enter(&Packet::udp(CLIENT, udp), A, &[FlowsInbound]);
    }

    #[test]
    fn when_the_table_is_full_nothing_is_left_behind() {
        let mut object = Object::sized(Rule { max_flows: 9, ..TO_PEERS }, 3, 8);
        object.set_flags(Uplink::SERVES);
        let external = object.out(&Packet::udp(A, S), NEW);
        object.ingress(&Packet::udp(CLIENT, external)).dropped(TableFull);
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
            object.ingress(&question).untouched(&[FlowsInbound]);
            object.egress(&answer).untouched(&[]);
            object.ingress(&question).untouched(&[]);
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
        object.ingress(&to(SYN)).untouched(&[FlowsInbound]);
        object.egress(&from(SYN | ACK)).untouched(&[]);
        object.ingress(&to(ACK)).untouched(&[]);
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
            object.ingress(&Packet::udp(CLIENT, A)).untouched(&[FlowsInbound]);
            object.egress(&answer).untouched(&[]);
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
        object.ingress(&Packet::tcp(CLIENT, A, SYN)).untouched(&[FlowsInbound]);
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
        object.ingress(&Packet::udp(STRANGER, A)).untouched(&[FlowsInbound]);
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
        assert_eq!(object.entries().len(), 0);
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
        assert_eq!(object.entries().len(), 0);
        object.ingress(&Packet::udp(CLIENT, A)).untouched(&[FlowsInbound]);
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
        object.enter(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[FlowsInbound]);
        let external = object.out(&Packet::tcp(A, S, SYN), NEW);
        // A simultaneous open.
        object.back(&Packet::tcp(S, external, SYN), A);
        object.ingress(&Packet::tcp(STRANGER, external, SYN)).dropped(Unsolicited);
    }
}
