//! Which devices are inside ports.

use natbpf_common::{
    IfIndex,
    contract::edges::{Edge, EdgeFlags, MAX_EDGES},
};

use super::*;
use crate::{
    config::{Edges, Floating, PortForward},
    network::Route,
};

fn with_ports(sources: &[&str], ports: &[&str]) -> Config {
    let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    config(vec![rule_with("eth0", sources, Translation { ports, ..Translation::default() })])
}

fn of_kind(index: u32, name: &str, kind: &str) -> Link {
    Link { kind: Some(kind.to_owned()), ..link(index, name) }
}

fn slave(index: u32, name: &str, kind: &str, master: u32) -> Link {
    Link { master: Some(IfIndex::new(master)), port: true, ..of_kind(index, name, kind) }
}

fn above(index: u32, name: &str, kind: &str, lower: u32) -> Link {
    Link { lower: Some(IfIndex::new(lower)), ..of_kind(index, name, kind) }
}

/// `lan0` as before, a bridge with an instance's veth, a TAP and a physical port, a bond, and a VLAN on each.
fn wider() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.links.extend([
        of_kind(10, "br0", "bridge"),
        Link { abroad: true, takes_unfinished: true, ..slave(11, "veth1", "veth", 10) },
        slave(12, "tap1", "tun", 10),
        slave(13, "eth1", "", 10),
        above(14, "br0.7", "vlan", 10),
        of_kind(20, "bond0", "bond"),
        slave(21, "eth2", "", 20),
        above(22, "bond0.8", "vlan", 20),
        Link { abroad: true, takes_unfinished: true, ..of_kind(30, "veth2", "veth") },
        slave(40, "ovs1", "tun", 41),
        of_kind(41, "ovs-system", "openvswitch"),
        of_kind(50, "vrf0", "vrf"),
    ]);
    snapshot.addresses.extend([
        address(10, [10, 1, 0, 1]),
        address(14, [10, 7, 0, 1]),
        address(20, [10, 2, 0, 1]),
        address(22, [10, 8, 0, 1]),
        address(50, [10, 5, 0, 1]),
    ]);
    snapshot.routes.push(Route { interface: IfIndex::new(30), network: "10.3.0.5/32".parse().unwrap() });
    snapshot
}

fn ports(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    let plan = plan(config, snapshot, Missing::Refused).unwrap();
    plan.ports.into_iter().map(|port| port.name).collect()
}

#[test]
fn the_devices_that_route_a_source_and_of_a_bridge_its_ports() {
    let found = |source: &[&str]| ports(&with_ports(source, &[]), &wider());
    assert_eq!(found(&["10.0.0.0/24"]), ["lan0"]);
    assert_eq!(found(&["10.1.0.0/24"]), ["veth1", "tap1", "eth1"]);
    assert_eq!(found(&["10.7.0.0/24"]), ["veth1", "tap1", "eth1"], "a VLAN on the bridge");
    assert_eq!(found(&["10.2.0.0/24"]), ["bond0"]);
    assert_eq!(found(&["10.8.0.0/24"]), ["bond0.8"]);
    assert_eq!(found(&["10.3.0.5"]), ["veth2"]);
    assert_eq!(found(&["172.16.0.0/12"]), [""; 0]);
    assert_eq!(found(&[]), ["lan0", "ppp0", "veth1", "tap1", "eth1", "bond0", "veth2"]);
}

#[test]
fn no_packet_meets_two_ports_on_its_way() {
    let both = ports(&with_ports(&["10.2.0.0/24", "10.8.0.0/24"], &[]), &wider());
    assert_eq!(both, ["bond0"], "what is tagged comes by the bond, too");
}

#[test]
fn an_uplink_is_no_port_and_nor_is_what_has_no_ethernet() {
    let mut snapshot = wider();
    snapshot.links[3].link_layer = libc::ARPHRD_PPP;
    snapshot.links[6].link_layer = libc::ARPHRD_NONE;
    let found = ports(&with_ports(&[], &[]), &snapshot);
    assert_eq!(found, ["lan0", "veth1", "eth1", "bond0", "veth2"]);
    let mut config = with_ports(&[], &[]);
    config.rules.push(rule("eth1", &[]));
    assert_eq!(ports(&config, &snapshot), ["lan0", "veth1", "bond0", "veth2"]);
}

#[test]
fn names_and_patterns_take_the_place_of_looking() {
    let found = |names: &[&str]| ports(&with_ports(&["10.0.0.0/8"], names), &wider());
    assert_eq!(found(&["veth*"]), ["veth1", "veth2"]);
    assert_eq!(found(&["br0"]), ["veth1", "tap1", "eth1"]);
    assert_eq!(found(&["tap1", "later0"]), ["tap1"]);
    assert_eq!(found(&["ovs1"]), ["ovs1"]);
    assert_eq!(found(&["bond0.8"]), ["bond0.8"]);
    let all = found(&["*"]);
    assert_eq!(
        all,
        ["lan0", "ppp0", "veth1", "tap1", "eth1", "bond0", "veth2", "ovs1", "ovs-system"],
        "all but uplinks, bridges, ports of bonds"
    );
}

#[test]
fn a_name_that_cannot_be_a_port_is_refused_at_the_start() {
    let config = |name| with_ports(&[], &[name]);
    let error = |name| plan(&config(name), &wider(), Missing::Refused).unwrap_err().to_string();
    assert!(error("eth0").contains("eth0, which is an uplink"));
    assert!(error("lo").contains("lo, which is no Ethernet device"));
    assert!(error("vrf0").contains("no Ethernet device"));
    assert!(error("eth2").contains("name bond0 instead"));
    // Later it may become so; then the rest goes on.
    assert_eq!(plan(&config("eth2"), &wider(), Missing::LeftOut).unwrap().ports, []);
}

#[test]
fn a_name_that_cannot_be_an_edge_is_refused_at_the_start() {
    let config = |name: &str| Config {
        accelerate: vec![Edges::Named(vec![name.parse().unwrap()])],
        ..config(Vec::new())
    };
    let error = |name| plan(&config(name), &wider(), Missing::Refused).unwrap_err().to_string();
    assert!(error("lo").contains("lo is no Ethernet device"));
    assert!(error("vrf0").contains("vrf0 is no Ethernet device"));
    assert!(error("eth2").contains("name bond0 instead"));
    assert!(error("eth77").contains("no interface eth77"));
    assert_eq!(ports(&config("bond0"), &wider()), ["bond0"]);
    assert_eq!(ports(&config("br0"), &wider()), ["veth1", "tap1", "eth1"], "a bridge for its ports");
    // Later it may become so; then the rest goes on.
    assert_eq!(plan(&config("eth2"), &wider(), Missing::LeftOut).unwrap().ports, []);
}

/// Two bridges with a pair between them, and a pair from each into another namespace.
#[test]
fn what_packets_may_pass_between_edges_is_known() {
    let mut snapshot = wider();
    snapshot.links.extend([
        Link { lower: Some(IfIndex::new(62)), ..slave(61, "qvb", "veth", 10) },
        Link { lower: Some(IfIndex::new(61)), ..slave(62, "qvo", "veth", 60) },
        of_kind(60, "br-int", "bridge"),
        Link { abroad: true, ..slave(63, "int-qr", "veth", 60) },
        slave(64, "tap9", "tun", 60),
    ]);
    let named = ["tap1", "eth1"].map(|name| name.parse().unwrap()).to_vec();
    let config = Config { accelerate: vec![Edges::Named(named)], ..config(Vec::new()) };
    let planned = |snapshot: &Snapshot| plan(&config, snapshot, Missing::Refused).unwrap();
    let free = planned(&snapshot);
    let mut names: Vec<_> = free.passed.iter().flatten().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    // Who leaves by a TAP, a card or into a namespace where packets end does not come back.
    assert_eq!(names, ["br-int", "br0", "br0.7", "qvb", "qvo"]);
    assert!(free.ports.iter().all(|port| port.passed == [0] && port.obstacle.is_none()), "{:?}", free.ports);
    let with_queue = |name: &str| {
        let mut snapshot = snapshot.clone();
        snapshot.links.iter_mut().filter(|link| link.name == name).for_each(|link| link.queue = true);
        planned(&snapshot).ports.into_iter().filter_map(|port| port.obstacle).collect::<Vec<_>>()
    };
    let obstacles = with_queue("qvo");
    assert!(
        obstacles.len() == 2 && obstacles.iter().all(|obstacle| obstacle.contains("qvo")),
        "{obstacles:?}"
    );
    assert!(with_queue("tap9").is_empty() && with_queue("int-qr").is_empty());
}

#[test]
fn hosts_that_are_reached_from_outside_are_sources_too() {
    let mut config = with_ports(&["10.0.0.0/24"], &[]);
    let redirection = "tcp:8080:10.1.0.11:80".parse().unwrap();
    config.forwards = vec![PortForward { uplink: "eth0".to_owned(), redirection, hairpin: false }];
    assert_eq!(ports(&config, &wider()), ["lan0", "veth1", "tap1", "eth1"]);
    let pair = "203.0.113.50=10.3.0.5".parse().unwrap();
    config.floating = vec![Floating { uplink: "eth0".to_owned(), pair, hairpin: false }];
    assert_eq!(ports(&config, &wider()), ["lan0", "veth1", "tap1", "eth1", "veth2"]);
    let named = with_ports(&[], &["tap1"]);
    config.rules = named.rules;
    assert_eq!(ports(&config, &wider()), ["tap1"]);
}

#[test]
fn the_other_end_of_a_pair_is_reached_at_once_where_it_is_in_another_namespace() {
    let flags = |name: &str| {
        let plan = plan(&with_ports(&[], &[name]), &wider(), Missing::Refused).unwrap();
        let [(_, Edge { flags })] = plan.port_table().into_iter().collect::<Vec<_>>()[..] else {
            panic!("{name}")
        };
        flags
    };
    assert_eq!(flags("veth1"), EdgeFlags::PEER);
    assert_eq!(flags("tap1"), EdgeFlags::empty());
    let mut snapshot = wider();
    snapshot.links[5].abroad = false;
    let plan = plan(&with_ports(&[], &["veth1"]), &snapshot, Missing::Refused).unwrap();
    assert_eq!(plan.ports[0].port.flags, EdgeFlags::empty());
}

#[test]
fn no_queue_is_passed_by() {
    let mut snapshot = wider();
    let found = |source: &[&str], snapshot: &Snapshot| {
        let plan = plan(&with_ports(source, &[]), snapshot, Missing::Refused).unwrap();
        plan.ports.into_iter().map(|port| (port.name, port.port.flags)).collect::<Vec<_>>()
    };
    let peer = EdgeFlags::PEER;
    let none = EdgeFlags::empty();
    let port = |name: &str, flags| (name.to_owned(), flags);
    let all = |veth| [port("veth1", veth), port("tap1", none), port("eth1", none)];
    assert_eq!(found(&["10.1.0.0/24"], &snapshot), all(peer));
    snapshot.links[5].queue = true;
    assert_eq!(found(&["10.1.0.0/24"], &snapshot), all(none), "that of a container");
    snapshot.links[8].queue = true;
    assert_eq!(found(&["10.1.0.0/24"], &snapshot), all(none));
    assert_eq!(found(&["10.7.0.0/24"], &snapshot), [port("br0.7", none)], "that of a VLAN");
    snapshot.links[4].queue = true;
    assert_eq!(found(&["10.1.0.0/24"], &snapshot), [port("br0", none)], "that of the bridge");
}

#[test]
fn what_is_between_a_port_and_the_uplink_is_known() {
    let mut snapshot = wider();
    let port = |snapshot: &Snapshot| {
        let plan = plan(&with_ports(&[], &["veth1"]), snapshot, Missing::Refused).unwrap();
        plan.ports[0].clone()
    };
    let names = |port: &PlannedPort| port.between.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let free = port(&snapshot);
    assert_eq!((names(&free), free.obstacle), (vec!["br0".to_owned(), "br0.7".to_owned()], None));
    snapshot.links[8].queue = true;
    assert!(port(&snapshot).obstacle.is_some_and(|obstacle| obstacle.contains("br0.7")));
    snapshot.links[8].queue = false;
    snapshot.links[4].xdp = Some(77);
    assert!(
        port(&snapshot).obstacle.is_some_and(|obstacle| obstacle.contains("77") && obstacle.contains("br0"))
    );
}

#[test]
fn there_is_a_limit_and_more_is_told() {
    let mut snapshot = snapshot();
    snapshot.links.extend((100..=100 + MAX_EDGES).map(|index| link(index, &format!("veth{index}"))));
    let plan = plan(&with_ports(&[], &["veth*"]), &snapshot, Missing::Refused).unwrap();
    assert_eq!(plan.ports.len(), MAX_EDGES as usize);
    assert!(plan.warnings.iter().any(|warning| warning.contains("4097 inside ports")), "{:?}", plan.warnings);
}

#[test]
fn without_offload_there_are_none() {
    let mut config = with_ports(&[], &["eth0"]);
    config.datapath.offload = Some(Switch::Off);
    assert_eq!(ports(&config, &wider()), [""; 0]);
}
