//! The sample in the README is what `natbpf status` prints.

use natbpf_common::IfIndex;

use super::*;
use crate::manual;

/// A gateway with two instances.
fn sample() -> Report {
    let mut counters: Counters = [0; Counter::COUNT];
    for (counter, count) in [
        (Counter::EgressPackets, 73_726),
        (Counter::EgressBytes, 3_137_756_361),
        (Counter::IngressPackets, 67_285),
        (Counter::IngressBytes, 3_038_207_383),
        (Counter::EgressOffloaded, 73_655),
        (Counter::IngressOffloaded, 67_218),
        (Counter::FlowsCreated, 13),
        (Counter::PortsChanged, 1),
        (Counter::PathsNoted, 26),
    ] {
        counters[counter as usize] = count;
    }
    let program = |program_id| Some(AttachInfo { mode: "tcx".to_owned(), program_id });
    let port = |name: &str, interface, (ingress, egress), flags| {
        let attached = PortAttached { ingress: program(ingress), egress: program(egress) };
        PortStatus::new(name.to_owned(), interface, Edge { flags }, attached)
    };
    Report {
        uplinks: vec![UplinkStatus {
            name: "eth0".to_owned(),
            interface: 2,
            attached: Attached { egress: program(1285), ingress: program(1283) },
            addresses: vec![Ipv4Addr::new(203, 0, 113, 1)],
        }],
        ports: vec![
            port("vnet0", IfIndex::new(5), (1289, 1287), EdgeFlags::empty()),
            port("veth1", IfIndex::new(6), (1293, 1291), EdgeFlags::PEER),
        ],
        flows: Usage { count: 13, max: 262_144 },
        mappings: Usage { count: 14, max: 327_680 },
        counters: CounterReport::from(&counters),
        ..report()
    }
}

#[test]
fn the_sample_of_the_readme_is_what_status_prints() {
    manual::holds("README.md", "status", &format!("```\n{}\n```\n", sample().text(false)));
}
