mod readme;

use std::net::Ipv4Addr;

use natbpf_common::{
    IfIndex,
    contract::{
        counter::{Counter, Counters},
        edges::{Edge, EdgeFlags},
    },
};

use super::*;
use crate::{
    datapath::Role,
    network::{Device, Features},
    paths::Load,
};

fn report() -> Report {
    let mut counters: Counters = [0; Counter::COUNT];
    counters[Counter::EgressPackets as usize] = 12;
    counters[Counter::NoPort as usize] = 3;
    let info = AttachInfo { mode: "tcx".to_owned(), program_id: 41 };
    Report {
        instance: "default".to_owned(),
        netns: "net:[4026531840]".to_owned(),
        schema: 1,
        daemon_running: true,
        offload: OffloadStatus { on: true, epoch: 17, revalidate_seconds: 10.0 },
        uplinks: vec![UplinkStatus {
            name: "eth0".to_owned(),
            interface: 3,
            attached: Attached { egress: Some(info), ingress: None },
            addresses: vec![Ipv4Addr::new(203, 0, 113, 1)],
        }],
        inside: Vec::new(),
        ports: Vec::new(),
        edges: Vec::new(),
        left_out: Vec::new(),
        namespaces: Vec::new(),
        hooks: Vec::new(),
        others: Vec::new(),
        obstacles: Vec::new(),
        forwards: Vec::new(),
        floating: Vec::new(),
        pools: Vec::new(),
        flows: Usage { count: 128, max: 1024 },
        mappings: Usage::default(),
        counters: CounterReport::from(&counters),
    }
}

#[test]
fn the_text_shows_what_matters() {
    let report = report();
    let text = report.text(false).to_string();
    let line = |start: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start} is not in\n{text}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("flows"), "flows 128 of 1024 (12.5 %)");
    assert_eq!(line("mappings"), "mappings 0 of 0 (0.0 %)");
    assert_eq!(line("offload "), "offload on, each flow asks the kernel again every 10 s, epoch 17");
    assert_eq!(line("eth0"), "eth0 3 tcx program 41 missing 203.0.113.1");
    assert_eq!(line("no_port"), "no_port 3 No external port is free.");
    assert!(!text.contains("table_full"), "a drop that never happened is shown");
    assert!(text.lines().all(|line| line == line.trim_end()), "blanks at the end of a line");
    assert!(report.text(true).to_string().contains("table_full"));
}

#[test]
fn what_leads_inside_is_shown_where_there_is_any() {
    let mut report = report();
    let plain = report.text(false).to_string();
    assert!(
        ["hairpin at", "replies go", "others at", "forward at", "floating at", "pool of"]
            .iter()
            .all(|head| !plain.contains(head))
    );
    let (uplink, address, to) = ("eth0", Ipv4Addr::new(203, 0, 113, 50), Ipv4Addr::new(10, 0, 0, 11));
    let attached = Some(AttachInfo { mode: "tcx".to_owned(), program_id: 42 });
    report.inside = vec![InsideStatus { name: "br0".to_owned(), interface: 2, attached: attached.clone() }];
    let (ingress, egress) = (attached, None);
    let port = |name: &str, interface, flags| {
        let attached = PortAttached { ingress: ingress.clone(), egress: egress.clone() };
        PortStatus::new(name.to_owned(), interface, Edge { flags }, attached)
    };
    report.ports = vec![
        port("veth1", IfIndex::new(7), EdgeFlags::PEER),
        port("vnet0", IfIndex::new(8), EdgeFlags::empty()),
    ];
    let program = AttachInfo { mode: "xdp".to_owned(), program_id: 43 };
    let hook = |name: &str, program, takes| HookStatus::new(name.to_owned(), IfIndex::new(7), program, takes);
    let device = |name: &str, features| Device {
        driver: Some(name.to_owned()),
        xdp: Some(Features(features)),
        ..Device::default()
    };
    report.hooks = vec![
        hook("veth1", Some(program), true).on_device(Some("veth".to_owned()), device("veth", 7)),
        hook("vnet0", None, false).on_device(Some("tun".to_owned()), device("tun", 0)),
        hook("eth1", None, false).on_device(None, device("tg3", 0)),
    ];
    let what = "a TC filter of kind u32 with priority 49152".to_owned();
    report.others = vec![OtherStatus { name: "br0".to_owned(), interface: 2, hook: "ingress", what }];
    report.forwards = vec![ForwardStatus {
        uplink: uplink.to_owned(),
        protocol: "udp",
        address,
        first_port: 53,
        last_port: 53,
        to,
        to_port: 5353,
    }];
    report.floating = vec![FloatingStatus { uplink: uplink.to_owned(), address, to }];
    report.pools = vec![PoolStatus { addresses: vec![address, to] }];
    report.left_out = vec![LeftOutStatus::new("w1", Role::Uplink, "a filter is there")];
    let text = report.text(false).to_string();
    let words: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "br0 2 tcx program 42",
        "veth1 7 tcx program 42 missing to the other end of the pair",
        "vnet0 8 tcx program 42 missing to the port",
        "veth1 7 xdp program 43 yes veth, has native XDP",
        "eth1 7 tc no tg3, no native XDP",
        "br0 2 ingress a TC filter of kind u32 with priority 49152",
        "eth0 udp 203.0.113.50:53 10.0.0.11:5353",
        "eth0 203.0.113.50 10.0.0.11",
        "2 203.0.113.50 10.0.0.11",
        "w1 uplink a filter is there",
    ] {
        assert!(words.iter().any(|words| words == line), "{line} is not in\n{text}");
    }
    assert!(!words.iter().any(|words| words.starts_with("vnet0 7 tc")), "a TAP at TC is told in\n{text}");
    assert!(text.lines().all(|line| line == line.trim_end()), "blanks at the end of a line");
    let json = serde_json::to_value(report).unwrap();
    assert_eq!(json["forwards"][0]["to_port"], 5353);
    assert_eq!(json["inside"][0]["attached"]["program_id"], 42);
    assert_eq!((&json["ports"][0]["peer"], &json["ports"][1]["peer"]), (&true.into(), &false.into()));
    assert_eq!(json["ports"][0]["attached"]["ingress"]["program_id"], 42);
    assert_eq!((&json["hooks"][0]["hook"], &json["hooks"][1]["hook"]), (&"xdp".into(), &"tc".into()));
    assert_eq!(json["offload"]["epoch"], 17);
    assert_eq!(json["pools"][0]["addresses"][1], "10.0.0.11");
}

#[test]
fn paths_are_told_by_edge() {
    let mut report = report();
    assert_eq!(report.share(), None);
    let mut counters: Counters = [0; Counter::COUNT];
    counters[Counter::PacketsRepeated as usize] = 900;
    counters[Counter::PacketsLeft as usize] = 100;
    report.counters = CounterReport::from(&counters);
    let load = Load { comes: 3, leaves: 4, packets: 900 };
    report.edges = vec![EdgeStatus::new("tap0".to_owned(), 7, load)];
    let text = report.text(false).to_string();
    let has = |line: &str| text.lines().any(|found| found.split_whitespace().eq(line.split(' ')));
    assert!(has("repeated 90.0 % of 1000 packets"), "{text}");
    assert!(has("edge index paths in out packets") && has("tap0 7 3 4 900"), "{text}");
}

#[test]
fn what_is_no_nat_shows_nothing_of_one() {
    let mut report = report();
    report.uplinks.clear();
    report.flows.count = 0;
    let text = report.text(false).to_string();
    let begins = |word: &str| text.lines().any(|line| line.split_whitespace().next() == Some(word));
    for word in ["uplink", "flows", "mappings", "traffic", "egress_packets"] {
        assert!(!begins(word), "{word}: {text}");
    }
}

#[test]
fn no_drop_is_said_in_words() {
    let mut report = report();
    report.counters = CounterReport::from(&[0; Counter::COUNT]);
    assert!(report.text(false).to_string().ends_with("no packet was dropped"));
}

#[test]
fn every_counter_is_in_the_json() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["uplinks"][0]["attached"]["egress"]["program_id"], 41);
    assert!(json["uplinks"][0]["attached"]["ingress"].is_null());
    assert_eq!(json["counters"]["drops"]["no_port"], 3);
    let groups = ["traffic", "flows", "paths", "drops"]
        .map(|group| json["counters"][group].as_object().unwrap().len());
    assert_eq!(groups.iter().sum::<usize>(), Counter::COUNT);
}
