//! Where inside hosts are.

use natbpf_common::IfIndex;

use super::*;
use crate::{
    config::{Floating, PortForward},
    network::Route,
};

fn hairpin(source: &[&str], inside: &[&str]) -> MasqueradeRule {
    let behaviour = Behaviour { hairpin: true, ..Behaviour::default() };
    let inside = inside.iter().copied().map(str::to_owned).collect();
    rule_with("eth0", source, Translation { behaviour, inside, ..Translation::default() })
}

/// With two more networks inside, the second behind a router.
fn wider() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.links.extend([link(5, "lan1"), link(6, "lan2")]);
    snapshot.addresses.extend([address(5, [10, 0, 1, 1]), address(6, [192, 168, 0, 1])]);
    let route = |interface, network: &str| Route { interface, network: network.parse().unwrap() };
    snapshot.routes.extend([
        route(IfIndex::new(6), "10.0.2.0/24"),
        route(IfIndex::new(3), "0.0.0.0/0"),
        route(IfIndex::new(4), "0.0.0.0/0"),
    ]);
    snapshot
}

fn inside(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    let plan = plan(config, snapshot, Missing::Refused).unwrap();
    plan.inside.into_iter().map(|inside| inside.name).collect()
}

#[test]
fn the_interfaces_with_an_address_or_a_route_among_the_sources() {
    let found = |source: &[&str]| inside(&config(vec![hairpin(source, &[])]), &wider());
    assert_eq!(found(&["10.0.0.0/24"]), ["lan0"]);
    assert_eq!(found(&["10.0.0.0/16"]), ["lan0", "lan1", "lan2"]);
    assert_eq!(found(&["10.0.2.5"]), ["lan2"]);
    assert_eq!(found(&["10.0.0.0/16", "!10.0.1.0/24"]), ["lan0", "lan2"]);
    // ppp0 is no uplink here, and every address is behind it.
    assert_eq!(found(&[]), ["lan0", "ppp0", "lan1", "lan2"]);
    assert_eq!(found(&["172.16.0.0/12"]), [""; 0]);
    assert_eq!(inside(&config(vec![rule("eth0", &["10.0.0.0/24"])]), &wider()), [""; 0]);
}

#[test]
fn what_is_down_or_no_ethernet_is_left_out() {
    let mut snapshot = wider();
    snapshot.links[1].up = false;
    snapshot.links[4].link_layer = libc::ARPHRD_NONE;
    assert_eq!(inside(&config(vec![hairpin(&["10.0.0.0/16"], &[])]), &snapshot), ["lan2"]);
}

#[test]
fn hairpin_without_an_interface_is_told() {
    let plan = plan(&config(vec![hairpin(&["172.16.0.0/12"], &[])]), &wider(), Missing::Refused).unwrap();
    let told = plan.warnings.iter().any(|warning| warning.contains("no Ethernet interface leads to"));
    assert!(told, "{:?}", plan.warnings);
}

#[test]
fn names_take_the_place_of_looking() {
    let named = |names: &[&str]| config(vec![hairpin(&["10.0.0.0/16"], names)]);
    assert_eq!(inside(&named(&["lan2"]), &wider()), ["lan2"]);
    let error = |names: &[&str], snapshot: &Snapshot| {
        plan(&named(names), snapshot, Missing::Refused).unwrap_err().to_string()
    };
    assert!(error(&["eth0"], &wider()).contains("eth0, which is an uplink"));
    assert!(error(&["lan9"], &wider()).starts_with("there is no interface lan9"));
    let mut snapshot = wider();
    snapshot.links[1].link_layer = libc::ARPHRD_NONE;
    assert!(error(&["lan0"], &snapshot).contains("lan0, which is no Ethernet device"));
    let later = plan(&named(&["lan9", "lan2"]), &wider(), Missing::LeftOut).unwrap();
    assert_eq!(later.inside.len(), 1);
}

#[test]
fn a_forward_is_for_its_host_and_for_who_is_masqueraded_by_its_uplink() {
    let mut config = config(vec![rule("eth0", &["10.0.1.0/24"]), rule("ppp0", &["192.168.0.0/24"])]);
    let redirection = "tcp:8080:10.0.0.11:80".parse().unwrap();
    config.forwards = vec![PortForward { uplink: "eth0".to_owned(), redirection, hairpin: true }];
    assert_eq!(inside(&config, &wider()), ["lan0", "lan1"]);
    config.forwards[0].hairpin = false;
    assert_eq!(inside(&config, &wider()), [""; 0]);
    assert!(!config.looks_for_inside());
    let pair = "203.0.113.50=10.0.2.11".parse().unwrap();
    config.floating = vec![Floating { uplink: "eth0".to_owned(), pair, hairpin: true }];
    assert_eq!(inside(&config, &wider()), ["lan1", "lan2"]);
    assert!(config.looks_for_inside());
}

#[test]
fn routes_matter_only_where_interfaces_have_to_be_found() {
    let wants = |rule: MasqueradeRule, offload| {
        let datapath = DatapathConfig { offload: Some(offload), ..DatapathConfig::default() };
        Config { datapath, ..config(vec![rule]) }.wants_routes()
    };
    assert!(!wants(rule("eth0", &[]), Switch::Off));
    assert!(!wants(hairpin(&[], &["lan0"]), Switch::Off));
    assert!(wants(hairpin(&[], &[]), Switch::Off));
    assert!(wants(rule("eth0", &[]), Switch::On), "to find the inside ports");
    let ports = vec!["veth*".parse().unwrap()];
    assert!(!wants(rule_with("eth0", &[], Translation { ports, ..Translation::default() }), Switch::On));
}
