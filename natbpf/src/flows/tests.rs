use std::net::Ipv4Addr;

use natbpf_common::{
    Address, IfIndex, Port,
    flow::Direction,
    wire::protocol::{GRE, ICMP, SCTP, TCP, UDP},
};
use proptest::prelude::*;

use super::*;

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn flow(protocol: u8, state: State, source_port: u16, destination_port: u16, external_port: u16) -> Flow {
    let key = FlowKey {
        source: Address::from(INSIDE),
        destination: Address::from(OUTSIDE),
        source_port: Port::new(source_port),
        destination_port: Port::new(destination_port),
        protocol,
        direction: Direction::Original as u8,
        zone: 0,
    };
    Flow {
        key,
        rewrite: Rewrite::new(Address::from(UPLINK), Port::new(external_port), key.tag()),
        status: Status::new(state as u8),
        remaining: Duration::from_millis(28_900),
        age: Duration::from_secs(3),
        uplink: IfIndex::new(7),
    }
}

fn with_status(flow: Flow, status: impl Fn(Status) -> Status) -> Flow {
    Flow { status: status(flow.status), ..flow }
}

/// The lines are those that conntrack 1.4.7 printed for the same flows through iptables MASQUERADE.
#[test]
fn lines_of_conntrack() {
    let tcp = flow(TCP, State::TcpEstablished, 55996, 80, 55996);
    let tcp = with_status(tcp, |status| status.with_seen_reply().with_assured());
    let lines = [
        (
            Flow { remaining: Duration::from_secs(431_998), ..tcp },
            "tcp      6 431998 ESTABLISHED src=10.0.0.11 dst=203.0.113.10 sport=55996 dport=80 \
             src=203.0.113.10 dst=203.0.113.1 sport=80 dport=55996 [ASSURED] mark=0 use=1",
        ),
        (
            flow(UDP, State::UdpUnreplied, 5001, 99, 1024),
            "udp      17 28 src=10.0.0.11 dst=203.0.113.10 sport=5001 dport=99 [UNREPLIED] \
             src=203.0.113.10 dst=203.0.113.1 sport=99 dport=1024 mark=0 use=1",
        ),
        (
            with_status(flow(UDP, State::UdpUnreplied, 5000, 9, 5000), Status::with_seen_reply),
            "udp      17 28 src=10.0.0.11 dst=203.0.113.10 sport=5000 dport=9 \
             src=203.0.113.10 dst=203.0.113.1 sport=9 dport=5000 mark=0 use=1",
        ),
        (
            with_status(flow(ICMP, State::Icmp, 16914, 8, 7), Status::with_seen_reply),
            "icmp     1 28 src=10.0.0.11 dst=203.0.113.10 type=8 code=0 id=16914 \
             src=203.0.113.10 dst=203.0.113.1 type=0 code=0 id=7 mark=0 use=1",
        ),
        (
            flow(ICMP, State::Icmp, 1, 13, 1),
            "icmp     1 28 src=10.0.0.11 dst=203.0.113.10 type=13 code=0 id=1 [UNREPLIED] \
             src=203.0.113.10 dst=203.0.113.1 type=14 code=0 id=1 mark=0 use=1",
        ),
        (
            flow(GRE, State::Other, 0, 0, 0),
            "gre      47 28 src=10.0.0.11 dst=203.0.113.10 srckey=0x0 dstkey=0x0 [UNREPLIED] \
             src=203.0.113.10 dst=203.0.113.1 srckey=0x0 dstkey=0x0 mark=0 use=1",
        ),
        (
            flow(253, State::Other, 0, 0, 0),
            "unknown  253 28 src=10.0.0.11 dst=203.0.113.10 [UNREPLIED] \
             src=203.0.113.10 dst=203.0.113.1 mark=0 use=1",
        ),
    ];
    for (flow, line) in lines {
        assert_eq!(flow.to_string(), line);
    }
}

/// What `conntrack -L -o extended` and `-E -o extended` have in front.
#[test]
fn extended_lines_begin_with_the_family() {
    let flow = flow(UDP, State::UdpUnreplied, 5000, 9, 5000);
    assert_eq!(format!("{flow:#}"), format!("ipv4     2 {flow}"));
    let event = format!("{:#}", Event { kind: EventKind::Update, flow });
    assert!(event.starts_with(" [UPDATE] ipv4     2 udp      17 28 src=10.0.0.11"), "{event}");
}

/// Where conntrack has a DNAT: the lines are those that it printed for the same flows through iptables.
#[test]
fn flows_from_outside_begin_with_the_client() {
    let inbound = |flow| with_status(flow, Status::with_inbound);
    let tcp = with_status(inbound(flow(TCP, State::TcpSynRecv, 83, 40000, 8003)), Status::with_seen_reply);
    assert_eq!(
        tcp.to_string(),
        "tcp      6 28 SYN_RECV src=203.0.113.10 dst=203.0.113.1 sport=40000 dport=8003 \
         src=10.0.0.11 dst=203.0.113.10 sport=83 dport=40000 mark=0 use=1"
    );
    // The identifier is the client's port, and the type is that of who is asked.
    let ping = inbound(flow(ICMP, State::Icmp, 8, 164, 8));
    assert_eq!(
        ping.to_string(),
        "icmp     1 28 src=203.0.113.10 dst=203.0.113.1 type=8 code=0 id=164 [UNREPLIED] \
         src=10.0.0.11 dst=203.0.113.10 type=0 code=0 id=164 mark=0 use=1"
    );
    // Not translated: toward the instance's own address.
    let mut plain = inbound(flow(TCP, State::TcpSynSent, 22, 40000, 22));
    plain.rewrite.address = plain.key.source;
    assert_eq!(
        plain.to_string(),
        "tcp      6 28 SYN_SENT src=203.0.113.10 dst=10.0.0.11 sport=40000 dport=22 [UNREPLIED] \
         src=10.0.0.11 dst=203.0.113.10 sport=22 dport=40000 mark=0 use=1"
    );
    let event = Event { kind: EventKind::New, flow: plain }.to_string();
    assert!(event.starts_with("    [NEW] tcp      6 28 SYN_SENT src=203.0.113.10 dst=10.0.0.11"), "{event}");
}

#[test]
fn filters_look_at_what_is_printed_first() {
    let tcp = with_status(flow(TCP, State::TcpEstablished, 83, 40000, 8003), Status::with_inbound);
    let matches = |filter: Filter| filter.matches(&tcp);
    let none = Filter::default();
    let network = |text: &str| Some(text.parse().unwrap());
    assert!(matches(Filter { source: network("203.0.113.10/32"), ..none.clone() }));
    assert!(matches(Filter { destination: network("203.0.113.1/32"), ..none.clone() }));
    assert!(matches(Filter { sport: Some(40000), dport: Some(8003), ..none.clone() }));
    assert!(!matches(Filter { source: network("10.0.0.0/24"), ..none.clone() }));
    assert!(!matches(Filter { dport: Some(83), ..none }));
}

#[test]
fn events_of_conntrack() {
    let udp = flow(UDP, State::UdpUnreplied, 5000, 9, 5000);
    let event = |kind, flow| Event { kind, flow }.to_string();
    assert_eq!(
        event(EventKind::New, udp),
        "    [NEW] udp      17 28 src=10.0.0.11 dst=203.0.113.10 sport=5000 dport=9 [UNREPLIED] \
         src=203.0.113.10 dst=203.0.113.1 sport=9 dport=5000"
    );
    let assured = with_status(udp, |status| status.with_seen_reply().with_assured());
    assert_eq!(
        event(EventKind::Update, assured),
        " [UPDATE] udp      17 28 src=10.0.0.11 dst=203.0.113.10 sport=5000 dport=9 \
         src=203.0.113.10 dst=203.0.113.1 sport=9 dport=5000 [ASSURED]"
    );
    assert!(event(EventKind::Destroy, assured).starts_with("[DESTROY] udp      17 28 src="));
    let expired = Flow { remaining: Duration::ZERO, ..assured };
    assert!(event(EventKind::Destroy, expired).starts_with("[DESTROY] udp      17 src="));
    assert!(event(EventKind::New, expired).starts_with("    [NEW] udp      17 0 src="));
}

#[test]
fn json_has_what_the_protocol_has() {
    let json = |flow: &Flow| serde_json::to_value(FlowJson::new(flow, "eth0".to_owned())).unwrap();
    let tcp = with_status(flow(TCP, State::TcpSynRecv, 5000, 80, 1024), Status::with_seen_reply);
    assert_eq!(
        json(&tcp),
        serde_json::json!({
            "protocol": "tcp", "protocol_number": 6, "state": "SYN_RECV", "timeout_seconds": 28, "began": "inside",
            "original": {"source": "10.0.0.11", "destination": "203.0.113.10", "source_port": 5000, "destination_port": 80},
            "reply": {"source": "203.0.113.10", "destination": "203.0.113.1", "source_port": 80, "destination_port": 1024},
            "seen_reply": true, "assured": false, "uplink": "eth0", "age_seconds": 3,
        })
    );
    let inbound = json(&with_status(tcp, Status::with_inbound));
    assert_eq!(inbound["began"], "outside");
    assert_eq!(
        (&inbound["original"]["source"], &inbound["reply"]["source"]),
        (&"203.0.113.10".into(), &"10.0.0.11".into())
    );
    assert_eq!(
        (&inbound["original"]["destination_port"], &inbound["reply"]["source_port"]),
        (&1024.into(), &5000.into())
    );
    let icmp = json(&flow(ICMP, State::Icmp, 5, 8, 6));
    assert_eq!(icmp["original"]["icmp_type"], 8);
    assert_eq!((&icmp["reply"]["icmp_type"], &icmp["reply"]["icmp_id"]), (&0.into(), &6.into()));
    assert!(icmp.get("state").is_none());
    let sctp = flow(SCTP, State::Other, 0, 0, 0);
    let event = EventJson::new(&Event { kind: EventKind::Destroy, flow: sctp }, "eth0".to_owned());
    let event = serde_json::to_value(event).unwrap();
    assert_eq!((&event["event"], &event["protocol"]), (&"destroy".into(), &"sctp".into()));
    assert!(event["original"].get("source_port").is_none());
}

#[test]
fn filters_look_at_the_original_direction() {
    let tcp = flow(TCP, State::TcpEstablished, 5000, 80, 1024);
    let network = |text: &str| Some(text.parse().unwrap());
    let everything = Filter::default();
    let matching = [
        everything.clone(),
        Filter { protocol: Some(TCP), ..everything.clone() },
        Filter { source: network("10.0.0.0/24"), ..everything.clone() },
        Filter { destination: network("203.0.113.10/32"), ..everything.clone() },
        Filter { sport: Some(5000), dport: Some(80), ..everything.clone() },
        Filter { state: Some(State::TcpEstablished), ..everything.clone() },
    ];
    for filter in matching {
        assert!(filter.matches(&tcp), "{filter:?}");
    }
    let others = [
        Filter { protocol: Some(UDP), ..everything.clone() },
        Filter { source: network("10.0.1.0/24"), ..everything.clone() },
        Filter { source: network("203.0.113.10/32"), ..everything.clone() },
        Filter { destination: network("203.0.113.1/32"), ..everything.clone() },
        Filter { sport: Some(5000), dport: Some(81), ..everything.clone() },
        Filter { sport: Some(1024), ..everything.clone() },
        Filter { state: Some(State::TcpSynSent), ..everything.clone() },
    ];
    for filter in others {
        assert!(!filter.matches(&tcp), "{filter:?}");
        assert!(!filter.is_empty());
    }
    assert!(Filter::default().is_empty());
    let query = flow(ICMP, State::Icmp, 5000, 8, 5000);
    let port = Filter { sport: Some(5000), ..everything };
    assert!(!port.matches(&query), "an identifier is no port");
}

#[test]
fn protocols_and_states_by_the_names_that_users_type() {
    assert_eq!(filter::protocol("UDP"), Ok(17));
    assert_eq!(filter::protocol("47"), Ok(47));
    assert!(filter::protocol("256").is_err());
    assert_eq!(filter::state("syn_sent2"), Ok(State::TcpSynSent2));
    assert!(filter::state("").is_err());
}

fn flows() -> impl Strategy<Value = Flow> {
    let protocols = prop::sample::select(&[TCP, UDP, ICMP, GRE, SCTP, 253][..]);
    let flags = (0..State::COUNT, any::<bool>(), any::<bool>(), any::<bool>());
    (protocols, any::<[u32; 3]>(), any::<[u16; 3]>(), flags, 0..1_000_000u64).prop_map(
        |(protocol, addresses, ports, (state, seen_reply, assured, inbound), seconds)| {
            let mut flow = flow(protocol, State::ALL[state], ports[0], ports[1], ports[2]);
            flow.key.source = Address::from_wire(addresses[0]);
            flow.key.destination = Address::from_wire(addresses[1]);
            flow.rewrite.address = Address::from_wire(addresses[2]);
            flow.remaining = Duration::from_secs(seconds);
            if protocol == ICMP {
                let request = Port::new([8, 13, 15, 17][usize::from(ports[1] % 4)]);
                *(if inbound { &mut flow.rewrite.port } else { &mut flow.key.destination_port }) = request;
            }
            if inbound {
                flow.status = flow.status.with_inbound();
            }
            if seen_reply {
                flow.status = flow.status.with_seen_reply();
            }
            if assured {
                flow.status = flow.status.with_assured();
            }
            flow
        },
    )
}

proptest! {
    /// As a script takes a line apart: at blanks and equals signs.
    #[test]
    fn every_line_can_be_parsed_back(flow in flows()) {
        let line = flow.to_string();
        let words: Vec<_> = line.split_whitespace().collect();
        prop_assert_eq!(words[1], flow.key.protocol.to_string());
        prop_assert_eq!(words[2], flow.remaining.as_secs().to_string());
        prop_assert_eq!(!words.contains(&"[UNREPLIED]"), flow.status.seen_reply());
        prop_assert_eq!(words.contains(&"[ASSURED]"), flow.status.assured());
        prop_assert_eq!(words.contains(&flow.state().name()), !flow.state().name().is_empty());
        let all = |wanted: &str| -> Vec<String> {
            let fields = words.iter().filter_map(|word| word.split_once('='));
            fields.filter(|(key, _)| *key == wanted).map(|(_, value)| value.to_owned()).collect()
        };
        let (first, reply) = (flow.first(), flow.reply());
        prop_assert_eq!(first == flow.key, !flow.status.inbound());
        prop_assert_eq!(all("src"), [first.source.to_string(), reply.source.to_string()]);
        prop_assert_eq!(all("dst"), [first.destination.to_string(), reply.destination.to_string()]);
        match flow.key.protocol {
            TCP | UDP => {
                prop_assert_eq!(all("sport"), [first.source_port.to_string(), reply.source_port.to_string()]);
                prop_assert_eq!(all("dport"), [first.destination_port.to_string(), reply.destination_port.to_string()]);
            }
            ICMP => {
                prop_assert_eq!(all("id"), [first.source_port.to_string(), reply.destination_port.to_string()]);
                prop_assert_eq!(all("type")[0].clone(), first.destination_port.to_string());
            }
            _ => prop_assert_eq!(all("sport").len(), 0),
        }
    }
}
