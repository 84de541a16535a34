//! A report as a busy node would have it, for tests.

use std::{env, fs, net::IpAddr, path::Path};

use super::{
    count::Count,
    report::{Begun, DropRow, EdgeRow, EndsRow, FlowRow, InstanceRow, Lost, Repeated, Report, TableUse},
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ends(edge: &str, source: (&str, u16), destination: (&str, u16)) -> EndsRow {
    EndsRow {
        edge: edge.to_owned(),
        source: address(source.0),
        destination: address(destination.0),
        source_port: source.1,
        destination_port: destination.1,
    }
}

fn edge(name: &str, interface: u32, [received, sent, repeated]: [u64; 3]) -> EdgeRow {
    let count = |packets| Count::new(packets, packets * 1000).rate(1.0);
    EdgeRow {
        name: name.to_owned(),
        interface,
        outside: name == "eth0",
        inward: count(received),
        outward: count(sent),
        repeated: count(repeated),
        share_repeated: (received > 0).then(|| repeated as f64 / received as f64),
        paths_in: 12,
        paths_out: 13,
    }
}

fn instance(text: &str, edge: Option<&str>, [flows, sent, received]: [u64; 3]) -> InstanceRow {
    InstanceRow {
        address: address(text),
        edge: edge.map(str::to_owned),
        flows,
        paths: 2 * flows,
        sent: Count::new(sent, sent * 1400).rate(1.0),
        received: Count::new(received, received * 70).rate(1.0),
    }
}

pub fn report() -> Report {
    let vm = |port| ("10.0.0.11", port);
    let (server, external) = (("203.0.113.10", 443), ("203.0.113.1", 50_000));
    let flow = |protocol_number, comes, leaves, packets| FlowRow {
        protocol_number,
        comes,
        leaves,
        rate: Count::new(packets, packets * 1000).rate(1.0),
    };
    let drops = |cause, packets, total, help, advice| DropRow {
        cause,
        packets,
        packets_per_second: packets as f64,
        total,
        help,
        advice,
    };
    Report {
        instance: "default".to_owned(),
        netns: "gw".to_owned(),
        daemon_running: true,
        offload: true,
        uptime_seconds: Some(273_906),
        interval_seconds: 1.0,
        repeated: Repeated {
            packets: 90_000,
            packets_per_second: 90_000.0,
            left_packets: 10_000,
            left_packets_per_second: 10_000.0,
            share: Some(0.9),
        },
        begun: Begun { flows: 120, flows_per_second: 120.0, paths: 240, paths_per_second: 240.0 },
        lost: Lost { paths: 3, crossings: 0, per_second: 3.0 },
        tables: vec![
            TableUse::new("flows", 26_214, 262_144),
            TableUse::new("mappings", 30_000, 327_680),
            TableUse::new("paths", 52_428, 655_360),
        ],
        edges: vec![
            edge("eth0", 2, [50_000, 48_000, 46_000]),
            edge("vnet0", 5, [48_000, 50_000, 44_000]),
            edge("vnet1", 6, [0, 3, 0]),
        ],
        instances: vec![
            instance("10.0.0.11", Some("vnet0"), [40, 44_000, 46_000]),
            instance("10.0.0.12", None, [3, 0, 0]),
            instance("2001:db8:1::12", Some("vnet1"), [0, 12, 10]),
        ],
        flows: vec![
            flow(6, ends("vnet0", vm(40_000), server), ends("eth0", external, server), 44_000),
            flow(6, ends("eth0", server, external), ends("vnet0", server, vm(40_000)), 46_000),
            flow(
                17,
                ends("vnet1", ("2001:db8:1::12", 5000), ("2001:db8:2::53", 53)),
                ends("eth0", ("2001:db8:1::12", 5000), ("2001:db8:2::53", 53)),
                12,
            ),
            flow(
                1,
                ends("vnet0", vm(7), ("203.0.113.10", 8)),
                ends("eth0", external, ("203.0.113.10", 8)),
                1,
            ),
        ],
        flows_matching: 4,
        drops: vec![
            drops("quota", 40, 1250, "The source has as many flows as it may have.", "Raise it."),
            drops("malformed", 0, 2, "The header is cut short or contradicts itself.", ""),
        ],
    }
}

/// What is shown is what stands in this file of the folder. `NATBPF_RENEW=1` writes it anew.
pub fn is_as_it_was(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/top/{name}.txt"));
    if env::var_os("NATBPF_RENEW").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}
