//! Pools, forwards, floating addresses.

use natbpf_common::{
    IfIndex, Port,
    contract::{
        forwards::{ExternalFlags, Forward, ForwardFlags, ForwardKey},
        rules::RuleFlags,
        uplinks::UplinkFlags,
    },
    wire::protocol::{TCP, UDP},
};

use super::*;
use crate::{
    announce::Announced,
    config::{AddressPool, Floating, PortForward, Redirection},
};

fn wire(text: &str) -> Address {
    Address::from(text.parse::<Ipv4Addr>().unwrap())
}

fn forward(text: &str) -> PortForward {
    PortForward { uplink: "eth0".to_owned(), redirection: text.parse().unwrap(), hairpin: false }
}

fn floating(text: &str) -> Floating {
    Floating { uplink: "eth0".to_owned(), pair: text.parse().unwrap(), hairpin: false }
}

pub fn with_pool(pool: &str) -> Translation {
    Translation { pool: AddressPool::collect(&[pool.parse().unwrap()]).unwrap(), ..Translation::default() }
}

pub fn served(rules: Vec<MasqueradeRule>, forwards: &[&str], pairs: &[&str], snapshot: &Snapshot) -> Plan {
    let config = Config {
        forwards: forwards.iter().copied().map(forward).collect(),
        floating: pairs.iter().copied().map(floating).collect(),
        ..config(rules)
    };
    plan(&config, snapshot, Missing::Refused).unwrap()
}

/// As the datapath looks a packet's destination up.
fn looked_up(plan: &Plan, uplink: u32, address: &str, protocol: u8, port: u16) -> Option<Forward> {
    let matches = |(length, key, _): &&(u32, ForwardKey, Forward)| {
        let bits = length.saturating_sub(ForwardKey::PORT_BITS - 16);
        let same_port = (key.port.number() ^ port).leading_zeros() >= bits;
        let by_port = *length == ForwardKey::ADDRESS_BITS || key.protocol == protocol && same_port;
        key.uplink == IfIndex::new(uplink) && key.address == wire(address) && by_port
    };
    plan.forwards.iter().filter(matches).max_by_key(|(length, ..)| *length).map(|(.., forward)| *forward)
}

fn inside(forward: Forward, port: u16) -> (Address, u16) {
    (forward.address, port.wrapping_add(forward.port_offset))
}

fn external(plan: &Plan, uplink: u32, address: &str) -> Option<External> {
    let key = ExternalKey { uplink: IfIndex::new(uplink), address: wire(address) };
    plan.externals.iter().find(|(known, _)| *known == key).map(|(_, external)| *external)
}

const ETH0: u32 = 3;

#[test]
fn a_forward_without_an_address_is_for_every_one_of_the_uplink() {
    let mut snapshot = snapshot();
    snapshot.addresses.push(Ipv4Address { secondary: true, ..address(ETH0, [203, 0, 113, 9]) });
    let plan = served(Vec::new(), &["tcp:8000-8099:10.0.0.11:80"], &[], &snapshot);
    assert_eq!(names(&plan), ["eth0"]);
    assert_eq!(plan.uplinks[0].uplink.flags, UplinkFlags::SERVES);
    for (address, flags) in [("203.0.113.1", ForwardFlags::empty()), ("203.0.113.9", ForwardFlags::POOL)] {
        for port in [8000, 8041, 8099] {
            let found = looked_up(&plan, ETH0, address, TCP, port).unwrap();
            assert_eq!(inside(found, port), (wire("10.0.0.11"), port - 8000 + 80));
            assert_eq!(found.flags, flags, "{address}");
        }
        for (protocol, port) in [(TCP, 7999), (TCP, 8100), (UDP, 8000)] {
            assert_eq!(looked_up(&plan, ETH0, address, protocol, port), None);
        }
    }
    assert_eq!(looked_up(&plan, ETH0, "203.0.113.2", TCP, 8000), None);
    // The host has both, and answers for them.
    assert_eq!(plan.announced(&snapshot), []);
    assert_eq!(external(&plan, ETH0, "203.0.113.9").unwrap().flags, ExternalFlags::empty());
    assert_eq!(external(&plan, ETH0, "203.0.113.1"), None);
}

#[test]
fn a_forward_of_both_protocols_whose_ports_stay() {
    let mut config = config(Vec::new());
    let redirection = Redirection { protocol: None, ..forward("203.0.113.7:tcp:53:10.0.0.11").redirection };
    config.forwards = vec![PortForward { redirection, ..forward("tcp:1:10.0.0.11") }];
    let plan = plan(&config, &snapshot(), Missing::Refused).unwrap();
    for protocol in [TCP, UDP] {
        let found = looked_up(&plan, ETH0, "203.0.113.7", protocol, 53).unwrap();
        assert_eq!(inside(found, 53), (wire("10.0.0.11"), 53));
    }
    assert_eq!(external(&plan, ETH0, "203.0.113.7").unwrap().flags, ExternalFlags::ANSWER);
}

#[test]
fn a_floating_address_is_a_hosts_in_both_directions() {
    let rules = || vec![rule("eth0", &["10.0.0.0/24"])];
    let plan = served(rules(), &["203.0.113.50:tcp:80:10.0.0.12"], &["203.0.113.50=10.0.0.11"], &snapshot());
    let found = looked_up(&plan, ETH0, "203.0.113.50", 47, 0).unwrap();
    assert_eq!((inside(found, 0), found.flags), ((wire("10.0.0.11"), 0), ForwardFlags::FIXED));
    assert_eq!(looked_up(&plan, ETH0, "203.0.113.50", TCP, 80).unwrap().address, wire("10.0.0.12"));
    let (length, key, value) = plan.sources[1];
    assert_eq!((length, key.source), (PREFIX_BASE + 32, wire("10.0.0.11")));
    let expected =
        Rule { flags: RuleFlags::FIXED, address: wire("203.0.113.50"), max_flows: 32256, ..Rule::default() };
    assert_eq!(value, expected);
    let (here, anywhere) =
        (external(&plan, ETH0, "203.0.113.50").unwrap(), external(&plan, 0, "203.0.113.50").unwrap());
    assert_eq!(here, anywhere);
    assert_eq!(
        (here.uplink.number(), here.flags, here.mac),
        (ETH0, ExternalFlags::ANSWER, [2, 0, 0, 0, 0, 3])
    );
    assert_eq!(plan.warnings, [""; 0]);

    // No rule takes it away, whatever stands first.
    let first = MasqueradeRule { action: Action::Exempt, ..rule("eth0", &["10.0.0.11"]) };
    let exempt = served(vec![first], &[], &["203.0.113.50=10.0.0.11"], &snapshot());
    assert_eq!(exempt.sources.len(), 1);
    assert!(exempt.sources[0].2.has(RuleFlags::FIXED));
}

#[test]
fn a_floating_address_that_is_the_uplinks_own_is_told() {
    let plan = served(Vec::new(), &[], &["203.0.113.1=10.0.0.11"], &snapshot());
    assert!(plan.warnings[0].contains("203.0.113.1 is the address of eth0 itself"), "{:?}", plan.warnings);
}

#[test]
fn an_address_that_the_host_has_is_answered_by_the_host() {
    let mut snapshot = snapshot();
    snapshot.addresses.push(address(2, [203, 0, 113, 50]));
    let plan = served(Vec::new(), &[], &["203.0.113.50=10.0.0.11"], &snapshot);
    assert_eq!(external(&plan, ETH0, "203.0.113.50").unwrap().flags, ExternalFlags::empty());
    assert_eq!(plan.announced(&snapshot), []);
}

#[test]
fn what_the_datapath_answers_for_is_announced_where_the_link_is_up() {
    let mut snapshot = snapshot();
    let pool = rule_with("eth0", &[], with_pool("203.0.113.1-203.0.113.2"));
    let plan = served(vec![pool], &[], &["203.0.113.50=10.0.0.11"], &snapshot);
    let announced = |last: u8| {
        let address = Ipv4Addr::new(203, 0, 113, last);
        Announced { interface: IfIndex::new(ETH0), mac: [2, 0, 0, 0, 0, 3], address }
    };
    assert_eq!(plan.announced(&snapshot), [announced(2), announced(50)]);
    snapshot.links[2].running = false;
    assert_eq!(plan.announced(&snapshot), []);
}

#[test]
fn equal_pools_are_one() {
    let translations = ["203.0.113.8-203.0.113.9", "203.0.113.7", "203.0.113.8-203.0.113.9"].map(with_pool);
    let sources = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"];
    let rules = translations.into_iter().zip(sources);
    let rules = rules.map(|(translation, source)| rule_with("eth0", &[source], translation)).collect();
    let plan = served(rules, &[], &[], &snapshot());
    let pools: Vec<_> =
        plan.sources.iter().map(|(.., rule)| (rule.has(RuleFlags::POOL), rule.pool)).collect();
    assert_eq!(pools, [(true, 0), (true, 1), (true, 0)]);
    assert_eq!((plan.pools[0].count, plan.pools[0].addresses[1]), (2, wire("203.0.113.9")));
    assert_eq!((plan.pools[1].count, plan.pools[1].addresses[0]), (1, wire("203.0.113.7")));
    let (placed, _) = plan.with_pools(&[40, 7]);
    assert_eq!(placed.iter().map(|(.., rule)| rule.pool).collect::<Vec<_>>(), [40, 7, 40]);
}

#[test]
fn an_uplink_serves_if_something_may_begin_outside() {
    let flags = |behaviour: Behaviour| {
        let rule = rule_with("eth0", &[], Translation { behaviour, ..Translation::default() });
        served(vec![rule], &[], &[], &snapshot()).uplinks[0].uplink.flags
    };
    assert_eq!(flags(Behaviour::default()), UplinkFlags::empty());
    assert_eq!(flags(Behaviour::of(Some(Profile::Rfc))), UplinkFlags::SERVES | UplinkFlags::SILENT);
    let peers = Behaviour { filtering: Filtering::AddressDependent, ..Behaviour::default() };
    assert_eq!(flags(peers), UplinkFlags::SERVES);
    let pool = served(vec![rule_with("eth0", &[], with_pool("203.0.113.1"))], &[], &[], &snapshot());
    assert_eq!(pool.uplinks[0].uplink.flags, UplinkFlags::SERVES);
    let elsewhere = served(vec![rule("ppp0", &[])], &["tcp:80:10.0.0.11"], &[], &snapshot());
    let flags: Vec<_> = elsewhere.uplinks.iter().map(|uplink| uplink.uplink.flags).collect();
    assert_eq!(
        (names(&elsewhere), flags),
        (vec!["ppp0", "eth0"], vec![UplinkFlags::empty(), UplinkFlags::SERVES])
    );
}

#[test]
fn every_external_address_names_its_uplink() {
    let mut snapshot = snapshot();
    // ppp0 borrows the address of eth0's, which stays eth0's.
    snapshot.addresses.retain(|address| address.interface == IfIndex::new(ETH0));
    let plan = served(vec![rule("ppp0", &[]), rule("eth0", &[])], &[], &[], &snapshot);
    let own = External {
        uplink: IfIndex::new(ETH0),
        flags: ExternalFlags::empty(),
        mac: [2, 0, 0, 0, 0, 3],
        reserved: [0; 2],
    };
    assert_eq!(external(&plan, 0, "203.0.113.1"), Some(own));
    assert_eq!(plan.externals.len(), 1);
    let lent = served(vec![rule("ppp0", &[])], &[], &[], &snapshot);
    assert_eq!(external(&lent, 0, "203.0.113.1").map(|external| external.uplink), Some(IfIndex::new(4)));
}

#[test]
fn ports_of_a_packet_are_compared_from_their_first_bit_on() {
    let plan = served(Vec::new(), &["udp:1-65535:10.0.0.11"], &[], &snapshot());
    for port in [1, 2, 255, 256, 32767, 32768, 65535] {
        assert!(looked_up(&plan, ETH0, "203.0.113.1", UDP, port).is_some(), "{port}");
    }
    assert_eq!(looked_up(&plan, ETH0, "203.0.113.1", UDP, 0), None);
    let port = plan.forwards.iter().map(|(_, key, _)| key.port).max_by_key(|port| port.number());
    assert_eq!(port, Some(Port::new(32768)));
}
