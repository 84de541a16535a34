//! Flows that have to end because of a change.

use natbpf_common::{
    IfIndex, Port,
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status, Traits, state::State},
    time::Moment,
    wire::protocol::{TCP, UDP},
};

use super::{
    serve::{served, with_pool},
    *,
};

const ETH0: u32 = 3;

/// A flow of an inside endpoint by an external one.
fn flow(protocol: u8, inside: (&str, u16), external: (&str, u16)) -> (FlowKey, FlowEntry) {
    let address = |text: &str| Address::from(text.parse::<Ipv4Addr>().unwrap());
    let key = FlowKey {
        source: address(inside.0),
        destination: address("198.51.100.2"),
        source_port: Port::new(inside.1),
        destination_port: Port::new(40000),
        protocol,
        direction: Direction::Original as u8,
        zone: 0,
    };
    let rewrite = Rewrite::new(address(external.0), Port::new(external.1), key.tag());
    let entry = FlowEntry {
        life: 0,
        rewrite: rewrite.to_word(),
        created: Moment::default(),
        uplink: IfIndex::new(ETH0),
        status: Status::new(State::UdpStream as u8).to_word(),
        traits: Traits::empty(),
        outside_port: Port::default(),
        reserved: 0,
    };
    (key, entry)
}

fn inbound((key, entry): (FlowKey, FlowEntry)) -> (FlowKey, FlowEntry) {
    (key, FlowEntry { status: Status::from_word(entry.status).with_inbound().to_word(), ..entry })
}

fn stays(plan: &Plan, (key, entry): (FlowKey, FlowEntry)) -> bool {
    !plan.placement().is_misplaced(&key, &entry)
}

fn rules() -> Vec<MasqueradeRule> {
    vec![rule("eth0", &["10.0.0.0/24"])]
}

#[test]
fn a_flow_ends_with_its_address_or_uplink() {
    let mut snapshot = snapshot();
    let with = |snapshot: &Snapshot| served(rules(), &[], &[], snapshot);
    let own = flow(UDP, ("10.0.0.11", 5000), ("203.0.113.1", 5000));
    let reply_of_an_instance = (own.0.reversed(), own.1);
    assert!(stays(&with(&snapshot), own));
    assert!(stays(&with(&snapshot), reply_of_an_instance));
    assert!(!stays(&with(&snapshot), flow(UDP, ("10.0.0.11", 5000), ("203.0.113.2", 5000))));
    assert!(!stays(&with(&snapshot), (own.0, FlowEntry { uplink: IfIndex::new(4), ..own.1 })));
    snapshot.links[2].up = false;
    assert!(!stays(&with(&snapshot), own));
    assert!(stays(&with(&snapshot), reply_of_an_instance), "it follows its flow");
}

#[test]
fn what_the_host_reserved_stands_alone() {
    let plan = served(rules(), &[], &[], &snapshot());
    let reserved = |address: &str| {
        let (key, entry) = flow(47, (address, 0), (address, 0));
        let status = Status::from_word(entry.status).with_host().to_word();
        (key.reversed(), FlowEntry { status, ..entry })
    };
    assert!(stays(&plan, reserved("203.0.113.1")));
    assert!(!stays(&plan, reserved("203.0.113.2")));
}

#[test]
fn a_flow_of_a_pool_ends_when_no_pool_has_its_address() {
    let pool = |text: &str| vec![rule_with("eth0", &[], with_pool(text))];
    let pooled = flow(TCP, ("10.0.0.11", 5000), ("203.0.113.61", 5000));
    assert!(stays(&served(pool("203.0.113.60-203.0.113.62"), &[], &[], &snapshot()), pooled));
    assert!(!stays(&served(pool("203.0.113.60"), &[], &[], &snapshot()), pooled));
}

#[test]
fn flows_by_a_forward_end_with_it() {
    let with = |forwards: &[&str]| served(rules(), forwards, &[], &snapshot());
    let served = inbound(flow(TCP, ("10.0.0.11", 83), ("203.0.113.1", 8003)));
    assert!(stays(&with(&["tcp:8000-8009:10.0.0.11:80"]), served));
    assert!(!stays(&with(&[]), served));
    assert!(!stays(&with(&["tcp:8000-8009:10.0.0.12:80"]), served), "to another host");
    assert!(!stays(&with(&["tcp:8000-8009:10.0.0.11:90"]), served), "to another port");
    assert!(!stays(&with(&["udp:8000-8009:10.0.0.11:80"]), served), "of another protocol");
    assert!(!stays(&with(&["tcp:8004-8009:10.0.0.11:84"]), served), "other ports");
    // What the same endpoint began itself has nothing to do with it.
    assert!(stays(&with(&[]), flow(TCP, ("10.0.0.11", 83), ("203.0.113.1", 8003))));
    // Nor has what came by a mapping.
    let (key, entry) = served;
    let mapped = Status::from_word(entry.status).with_mapped().to_word();
    assert!(stays(&with(&[]), (key, FlowEntry { status: mapped, ..entry })));
}

#[test]
fn all_flows_of_a_floating_address_end_with_it() {
    let with = |pairs: &[&str], forwards: &[&str]| served(rules(), forwards, pairs, &snapshot());
    let out = flow(UDP, ("10.0.0.11", 5000), ("203.0.113.50", 5000));
    let incoming = inbound(flow(47, ("10.0.0.11", 0), ("203.0.113.50", 0)));
    let there = with(&["203.0.113.50=10.0.0.11"], &[]);
    assert!(stays(&there, out) && stays(&there, incoming));
    for gone in [
        with(&[], &[]),
        with(&["203.0.113.50=10.0.0.12"], &[]),
        with(&["203.0.113.51=10.0.0.11"], &[]),
        with(&[], &["203.0.113.50:udp:5000:10.0.0.11"]),
    ] {
        assert!(!stays(&gone, out) && !stays(&gone, incoming));
    }
    // A port of it that leads elsewhere now.
    let web = inbound(flow(TCP, ("10.0.0.11", 80), ("203.0.113.50", 80)));
    assert!(stays(&there, web));
    assert!(!stays(&with(&["203.0.113.50=10.0.0.11"], &["203.0.113.50:tcp:80:10.0.0.12"]), web));
}

#[test]
fn what_is_not_translated_ends_with_its_uplink_alone() {
    let mut snapshot = snapshot();
    let (key, entry) = inbound(flow(TCP, ("10.0.0.11", 80), ("10.0.0.11", 80)));
    let plain = (key, FlowEntry { traits: Traits::UNTRANSLATED, ..entry });
    snapshot.links[2].up = false;
    assert!(stays(&served(rules(), &[], &[], &snapshot), plain));
    assert!(!stays(&served(vec![rule("ppp0", &[])], &[], &[], &snapshot), plain));
}
