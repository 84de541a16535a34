use std::{collections::BTreeMap, net::Ipv4Addr};

use natbpf_common::{
    Address, IfIndex,
    contract::{
        forwards::{External, ExternalKey},
        rules::{DestinationKey, PREFIX_BASE, Rule, RuleFlags, SourceKey},
        uplinks::{MAX_ADDRESSES, MAX_UPLINKS},
    },
    flow::timeouts::Timeouts,
};

use super::*;
use crate::{
    config::{
        Action, Behaviour, DatapathConfig, Filtering, MasqueradeRule, NetworkMatch, Networks, Ports, Profile,
        Switch, Translation,
    },
    datapath::Role,
    network::{Ipv4Address, Link, Route},
};

mod hook;
mod inside;
mod offload;
mod placement;
mod serve;

fn link(index: u32, name: &str) -> Link {
    Link {
        index: IfIndex::new(index),
        name: name.to_owned(),
        up: true,
        running: true,
        link_layer: libc::ARPHRD_ETHER,
        kind: None,
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        ..Link::default()
    }
}

fn address(interface: u32, octets: [u8; 4]) -> Ipv4Address {
    let local = Ipv4Addr::from(octets);
    Ipv4Address {
        interface: IfIndex::new(interface),
        local,
        peer: local,
        prefix_length: 24,
        scope: 0,
        secondary: false,
    }
}

pub fn snapshot() -> Snapshot {
    Snapshot {
        links: vec![link(1, "lo"), link(2, "lan0"), link(3, "eth0"), link(4, "ppp0")],
        addresses: vec![address(2, [10, 0, 0, 1]), address(3, [203, 0, 113, 1]), address(4, [198, 18, 0, 1])],
        ..Snapshot::default()
    }
}

fn rule(out: &str, sources: &[&str]) -> MasqueradeRule {
    rule_with(out, sources, Translation::default())
}

fn rule_with(out: &str, sources: &[&str], translation: Translation) -> MasqueradeRule {
    let items: Vec<NetworkMatch> = sources.iter().map(|network| network.parse().unwrap()).collect();
    MasqueradeRule {
        out: out.parse().unwrap(),
        sources: Networks::collect(&items).unwrap(),
        destinations: Networks::default(),
        action: Action::Masquerade(translation),
    }
}

fn config(rules: Vec<MasqueradeRule>) -> Config {
    Config {
        rules,
        forwards: Vec::new(),
        floating: Vec::new(),
        accelerate: Vec::new(),
        interfaces: BTreeMap::new(),
        datapath: DatapathConfig::default(),
        timeouts: Timeouts::default(),
    }
}

fn planned(rules: Vec<MasqueradeRule>, snapshot: &Snapshot) -> Result<Plan, PlanError> {
    plan(&config(rules), snapshot, Missing::Refused)
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.uplinks.iter().map(|uplink| &*uplink.name).collect()
}

#[test]
fn rules_become_entries_under_the_index_of_their_uplink() {
    let first = Translation {
        except: vec!["10.0.0.0/8".parse().unwrap()],
        to_ports: Ports::new(50000, 50010),
        random: true,
        new_flows_per_second: 1000,
        ..Translation::default()
    };
    let netfilter = Behaviour::of(Some(Profile::Netfilter));
    let second = Translation { behaviour: netfilter, ..Translation::default() };
    let plan = planned(
        vec![
            rule_with("eth0", &["10.0.0.0/24", "10.0.1.5/32"], first),
            rule_with("ppp0", &[], second),
            rule("eth0", &["10.0.2.0/24"]),
        ],
        &snapshot(),
    )
    .unwrap();

    let uplinks: Vec<_> = plan.uplinks.iter().map(|uplink| (&*uplink.name, uplink.interface)).collect();
    assert_eq!(uplinks, [("eth0", IfIndex::new(3)), ("ppp0", IfIndex::new(4))]);
    let key = |uplink, octets: [u8; 4]| SourceKey { uplink, source: Address::from(Ipv4Addr::from(octets)) };
    let depends = Rule { id: 0, flags: RuleFlags::DESTINATIONS, ..Rule::default() };
    // Half of the ports from 1024 on: a quarter of the table would be more than all of them.
    let quota = Rule { max_flows: 32256, ..Rule::default() };
    assert_eq!(
        plan.sources,
        [
            (PREFIX_BASE + 24, key(IfIndex::new(3), [10, 0, 0, 0]), depends),
            (PREFIX_BASE + 24, key(IfIndex::new(3), [10, 0, 2, 0]), quota),
            (PREFIX_BASE + 32, key(IfIndex::new(3), [10, 0, 1, 5]), depends),
            (
                PREFIX_BASE,
                key(IfIndex::new(4), [0; 4]),
                Rule { flags: RuleFlags::PER_DESTINATION, ..Rule::default() }
            ),
        ]
    );
    let key =
        |octets: [u8; 4]| DestinationKey { rule: 0, destination: Address::from(Ipv4Addr::from(octets)) };
    let flags = RuleFlags::RANDOM | RuleFlags::PORTS;
    let here = Rule { flags, first_port: 50000, last_port: 50010, interval: 1_000_000, ..quota };
    let exempt = Rule { flags: RuleFlags::EXEMPT, ..Rule::default() };
    assert_eq!(
        plan.destinations,
        [(PREFIX_BASE, key([0; 4]), here), (PREFIX_BASE + 8, key([10, 0, 0, 0]), exempt)]
    );
    assert_eq!(plan.warnings, [""; 0]);
    assert_eq!(plan.without_address(), [""; 0]);
}

#[test]
fn what_a_profile_says_is_in_the_flags() {
    let flags = |behaviour: Behaviour| {
        let rule = rule_with("eth0", &[], Translation { behaviour, ..Translation::default() });
        planned(vec![rule], &snapshot()).unwrap().sources[0].2.flags
    };
    assert_eq!(flags(Behaviour::default()), RuleFlags::empty());
    let rfc = Behaviour::of(Some(Profile::Rfc));
    assert_eq!(flags(rfc), RuleFlags::OPEN | RuleFlags::OUTBOUND_REFRESH);
    let peers = Behaviour { filtering: Filtering::AddressDependent, ..Behaviour::default() };
    assert_eq!(flags(peers), RuleFlags::OPEN_TO_PEERS);
}

#[test]
fn patterns_are_for_the_interfaces_that_are_there() {
    let mut snapshot = snapshot();
    let plan = |out: &str, snapshot: &Snapshot| planned(vec![rule(out, &[])], snapshot).unwrap();
    assert_eq!(names(&plan("*", &snapshot)), ["lan0", "eth0", "ppp0"]);
    assert_eq!(names(&plan("!eth0", &snapshot)), ["lan0", "ppp0"]);
    assert_eq!(names(&plan("eth*", &snapshot)), ["eth0"]);
    assert_eq!(plan("eth*", &snapshot).sources.len(), 1);
    let none = plan("wlan*", &snapshot);
    assert_eq!(names(&none), [""; 0]);
    assert!(none.warnings[0].contains("matched by out = \"wlan*\""), "{:?}", none.warnings);
    // A port of a bridge lets nothing out that is routed.
    snapshot.links[2].port = true;
    assert_eq!(names(&plan("*", &snapshot)), ["lan0", "ppp0"]);
    assert_eq!(names(&plan("eth0", &snapshot)), ["eth0"]);
    snapshot.links[3].link_layer = libc::ARPHRD_INFINIBAND;
    assert_eq!(names(&plan("*", &snapshot)), ["lan0"]);
}

#[test]
fn a_pattern_may_match_what_has_no_address() {
    let mut snapshot = snapshot();
    snapshot.addresses.clear();
    let plan = planned(vec![rule("eth*", &[]), rule("ppp0", &[])], &snapshot).unwrap();
    assert_eq!(plan.without_address(), ["ppp0"]);
}

#[test]
fn what_waits_for_its_interface_is_left_out_when_it_goes() {
    let rules = vec![rule("eth9", &[]), rule("eth0", &[])];
    let plan = plan(&config(rules), &snapshot(), Missing::LeftOut).unwrap();
    assert_eq!(names(&plan), ["eth0"]);
}

#[test]
fn a_rule_that_never_decides_is_named() {
    let plan =
        planned(vec![rule("eth0", &["10.0.0.0/8"]), rule("eth0", &["10.1.0.0/16"])], &snapshot()).unwrap();
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].starts_with("rule 2 (out eth0, source 10.1.0.0/16,"), "{:?}", plan.warnings);
}

#[test]
fn an_unknown_interface_is_named_with_those_that_exist() {
    let error = planned(vec![rule("eth9", &["0.0.0.0/0"])], &snapshot()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no interface eth9 in this network namespace; there are: lo, lan0, eth0, ppp0"
    );
}

#[test]
fn a_link_layer_that_nobody_knows_is_refused() {
    let mut snapshot = snapshot();
    snapshot.links[2].link_layer = libc::ARPHRD_INFINIBAND;
    let error = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap_err();
    assert_eq!(error, PlanError::LinkLayer { name: "eth0".to_owned(), link_layer: 32 });
    snapshot.links[2].link_layer = libc::ARPHRD_NONE;
    let plan = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
    assert_eq!(plan.uplinks[0].uplink.link_header, 0);
}

#[test]
fn an_uplink_that_is_down_keeps_its_addresses() {
    let mut snapshot = snapshot();
    snapshot.links[2].up = false;
    let plan = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
    assert!(!plan.uplinks[0].up);
    assert_eq!(plan.uplinks[0].uplink.address_count, 1);
    assert!(plan.warnings[0].contains("ip link set eth0 up"), "{:?}", plan.warnings);
}

#[test]
fn what_surprises_is_said() {
    let mut snapshot = snapshot();
    snapshot.addresses.retain(|address| address.interface != IfIndex::new(3));
    let borrowing = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
    assert!(borrowing.warnings[0].contains("takes 10.0.0.1 of lan0"), "{:?}", borrowing.warnings);

    snapshot.addresses.extend((0..9).map(|i| address(3, [198, 18, i, 1])));
    let many = planned(vec![rule("eth0", &["198.18.4.0/24"])], &snapshot).unwrap();
    assert!(many.warnings[0].contains("eth0 has 9 addresses"), "{:?}", many.warnings);
    assert!(many.warnings[1].contains("198.18.4.0/24 holds 198.18.4.1"), "{:?}", many.warnings);
    assert_eq!(many.uplinks[0].uplink.address_count as usize, MAX_ADDRESSES);

    let part = planned(vec![rule("eth0", &["198.18.4.128/25"])], &snapshot).unwrap();
    assert!(
        part.warnings[1].contains("198.18.4.128/25 overlaps 198.18.4.0/24, the network of"),
        "{:?}",
        part.warnings
    );
    let apart = planned(vec![rule("eth0", &["198.18.0.0/16", "!198.18.0.0/20"])], &snapshot).unwrap();
    assert_eq!(apart.warnings.len(), 1, "{:?}", apart.warnings);

    snapshot.addresses.clear();
    let none = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
    assert_eq!(none.without_address(), ["eth0"]);
}

#[test]
fn a_way_out_that_is_no_uplink_is_told() {
    let mut snapshot = snapshot();
    let route = |interface, network: &str| Route { interface, network: network.parse().unwrap() };
    snapshot.routes = vec![route(IfIndex::new(3), "0.0.0.0/0"), route(IfIndex::new(4), "198.51.100.0/24")];
    let warnings = |out: &str, snapshot: &Snapshot| {
        planned(vec![rule(out, &["10.0.0.0/24"])], snapshot).unwrap().warnings
    };
    assert_eq!(warnings("eth0", &snapshot), [""; 0]);
    // In two tables.
    snapshot.routes.extend([route(IfIndex::new(4), "0.0.0.0/0"), route(IfIndex::new(4), "0.0.0.0/0")]);
    let said = warnings("eth0", &snapshot);
    assert!(said.len() == 1 && said[0].starts_with("ppp0 has a default route, too"), "{said:?}");
    assert_eq!(warnings("!lan0", &snapshot), [""; 0]);
}

/// Row U14.
#[test]
fn inside_and_outside_with_the_same_network_are_told() {
    let mut snapshot = snapshot();
    snapshot.addresses[1] = address(3, [10, 0, 0, 50]);
    let warnings = |sources: &[&str]| planned(vec![rule("eth0", sources)], &snapshot).unwrap().warnings;
    let overlap = "the network 10.0.0.0/24 of the uplink eth0 overlaps 10.0.0.0/24 of lan0";
    assert!(warnings(&["10.0.0.0/24"])[0].contains(overlap), "{:?}", warnings(&["10.0.0.0/24"]));
    assert_eq!(warnings(&["10.0.0.0/24"]).len(), 1);
    assert_eq!(warnings(&["10.0.1.0/24"]), [""; 0]);
}

#[test]
fn of_more_than_there_is_room_for_the_named_ones_have_their_place() {
    let mut snapshot = snapshot();
    snapshot.links.extend((10..40).map(|index| link(index, &format!("eth{index}"))));
    let rules = || vec![rule("eth*", &["10.0.0.0/24"]), rule("eth39", &["10.0.1.0/24"])];
    let plan = planned(rules(), &snapshot).unwrap();
    assert_eq!(plan.uplinks.len(), MAX_UPLINKS);
    assert_eq!(names(&plan).last(), Some(&"eth39"), "{:?}", names(&plan));
    let left_out: Vec<&str> = plan.left_out.iter().map(|left| &*left.name).collect();
    assert_eq!((left_out.len(), left_out[0]), (15, "eth24"));
    assert!(plan.left_out[0].reason.contains("narrow the patterns"), "{:?}", plan.left_out[0]);
    // Seventeen that are named are a mistake, at the start.
    let named = |missing| {
        let rules = (10..27).map(|index| rule(&format!("eth{index}"), &["10.0.0.0/24"])).collect();
        crate::plan::plan(&config(rules), &snapshot, missing)
    };
    assert!(matches!(named(Missing::Refused), Err(PlanError::TooManyUplinks(name)) if name == "eth26"));
    assert_eq!(named(Missing::LeftOut).unwrap().left_out.len(), 1);
}

#[test]
fn what_was_refused_is_neither_an_uplink_nor_anything_else() {
    let refused = Refused::from([((IfIndex::new(3), Role::Uplink), "a filter is there".to_owned())]);
    let config = config(vec![rule("eth0", &[]), rule("ppp0", &[])]);
    let plan = plan_without(&config, &snapshot(), Missing::LeftOut, &refused).unwrap();
    assert_eq!(names(&plan), ["ppp0"]);
    assert!(plan.places().all(|place| place.at.0 != IfIndex::new(3)));
    let [left] = &plan.left_out[..] else { panic!("{:?}", plan.left_out) };
    assert_eq!((&*left.name, &*left.reason), ("eth0", "a filter is there"));
}
