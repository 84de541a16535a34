use std::net::Ipv4Addr;

use natbpf_common::{IfIndex, contract::rules::RuleFlags};
use proptest::prelude::*;

use super::*;
use crate::config::NetworkMatch;

/// A rule that owns what it consists of.
#[derive(Clone, Debug)]
struct Owned {
    sources: Networks,
    destinations: Networks,
    except: Vec<Ipv4Net>,
    value: Option<Rule>,
}

impl Owned {
    fn of(sources: &str, destinations: &str, except: &str, mark: Option<u16>) -> Self {
        let networks = |text: &str| {
            let items: Vec<NetworkMatch> =
                text.split_whitespace().map(|item| item.parse().unwrap()).collect();
            Networks::collect(&items).unwrap()
        };
        Self {
            sources: networks(sources),
            destinations: networks(destinations),
            except: networks(except).included,
            value: mark.map(value),
        }
    }

    fn rule(&self) -> OrderedRule<'_> {
        let Self { sources, destinations, except, value } = self;
        OrderedRule { sources, destinations, except, value: *value }
    }
}

/// A value that can be told from others.
fn value(mark: u16) -> Rule {
    Rule { flags: RuleFlags::PORTS, first_port: mark, last_port: mark, ..Rule::default() }
}

const UPLINK: u32 = 7;

fn compile(rules: &[Owned]) -> (Compiler, Vec<bool>) {
    let mut compiler = Compiler::default();
    let rules: Vec<_> = rules.iter().map(Owned::rule).collect();
    let decides = compiler.add_uplink(IfIndex::new(UPLINK), &rules);
    (compiler, decides)
}

/// The first rule that matches.
fn naive(rules: &[Owned], source: Ipv4Addr, destination: Ipv4Addr) -> Option<Rule> {
    let rule =
        rules.iter().find(|rule| rule.sources.contains(source) && rule.destinations.contains(destination))?;
    let excepted = rule.except.iter().any(|except| except.contains(&destination));
    if excepted { None } else { rule.value }
}

fn longest<K: Copy>(entries: &[(u32, K, Rule)], matches: impl Fn(u32, K) -> bool) -> Option<Rule> {
    let found = entries.iter().filter(|(length, key, _)| matches(length - PREFIX_BASE, *key));
    found.max_by_key(|(length, ..)| *length).map(|(.., rule)| *rule)
}

fn within(address: Ipv4Addr, network: Address, length: u32) -> bool {
    Address::from(address).masked(Address::mask(length as u8)) == network
}

/// As the datapath does it.
fn looked_up(compiler: &Compiler, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Rule> {
    let mut rule = longest(&compiler.sources, |length, key: SourceKey| {
        key.uplink == IfIndex::new(UPLINK) && within(source, key.source, length)
    })?;
    if rule.has(RuleFlags::DESTINATIONS) {
        let id = rule.id;
        rule = longest(&compiler.destinations, |length, key: DestinationKey| {
            key.rule == id && within(destination, key.destination, length)
        })
        .expect("an entry for everything");
    }
    if rule.has(RuleFlags::EXEMPT) { None } else { Some(rule) }
}

fn sources(compiler: &Compiler) -> Vec<String> {
    let text = |(length, key, rule): &SourceEntry| {
        let what = match rule.flags {
            RuleFlags::DESTINATIONS => format!("table {}", rule.id),
            RuleFlags::EXEMPT => "exempt".to_owned(),
            _ => rule.first_port.to_string(),
        };
        format!("{}/{} {what}", key.source, length - PREFIX_BASE)
    };
    compiler.sources.iter().map(text).collect()
}

fn destinations(compiler: &Compiler, id: u32) -> Vec<String> {
    let of = compiler.destinations.iter().filter(|(_, key, _)| key.rule == id);
    of.map(|(length, key, rule)| {
        let what =
            if rule.has(RuleFlags::EXEMPT) { "exempt".to_owned() } else { rule.first_port.to_string() };
        format!("{}/{} {what}", key.destination, length - PREFIX_BASE)
    })
    .collect()
}

#[test]
fn a_plain_rule_is_one_entry_for_each_source() {
    let (compiler, decides) = compile(&[Owned::of("10.0.0.0/24 10.0.1.5", "", "", Some(1))]);
    assert_eq!(sources(&compiler), ["10.0.0.0/24 1", "10.0.1.5/32 1"]);
    assert_eq!((compiler.destinations.len(), decides), (0, vec![true]));
}

#[test]
fn the_first_rule_wins_where_sources_overlap() {
    let wide_first = [Owned::of("10.0.0.0/8", "", "", Some(1)), Owned::of("10.1.0.0/16", "", "", Some(2))];
    let (compiler, decides) = compile(&wide_first);
    assert_eq!((sources(&compiler), decides), (vec!["10.0.0.0/8 1".to_owned()], vec![true, false]));
    let narrow_first = [wide_first[1].clone(), wide_first[0].clone()];
    let (compiler, decides) = compile(&narrow_first);
    assert_eq!(sources(&compiler), ["10.0.0.0/8 1", "10.1.0.0/16 2"]);
    assert_eq!(decides, [true, true]);
}

#[test]
fn what_is_exempt_has_an_entry_only_where_a_shorter_one_would_take_it() {
    let rules = [Owned::of("10.0.0.5 192.0.2.0/24", "", "", None), Owned::of("10.0.0.0/24", "", "", Some(1))];
    assert_eq!(sources(&compile(&rules).0), ["10.0.0.0/24 1", "10.0.0.5/32 exempt"]);
    let negated = [Owned::of("!10.0.0.0/8", "", "", Some(1))];
    assert_eq!(sources(&compile(&negated).0), ["0.0.0.0/0 1", "10.0.0.0/8 exempt"]);
}

#[test]
fn exceptions_and_destinations_make_tables_that_are_shared() {
    let rules = [
        Owned::of("10.0.0.0/24 10.0.1.0/24", "192.0.2.0/24", "", Some(1)),
        Owned::of("10.0.0.0/16", "", "10.0.0.0/8", Some(2)),
        Owned::of("10.0.0.9", "198.18.0.0/15", "", Some(3)),
        Owned::of("10.9.0.0/16", "198.18.0.0/15", "", Some(3)),
    ];
    let (compiler, decides) = compile(&rules);
    assert_eq!(
        sources(&compiler),
        ["10.0.0.0/16 table 0", "10.9.0.0/16 table 1", "10.0.0.0/24 table 2", "10.0.1.0/24 table 2"]
    );
    assert_eq!(destinations(&compiler, 0), ["0.0.0.0/0 2", "10.0.0.0/8 exempt"]);
    assert_eq!(destinations(&compiler, 1), ["0.0.0.0/0 exempt", "198.18.0.0/15 3"]);
    assert_eq!(destinations(&compiler, 2), ["0.0.0.0/0 2", "10.0.0.0/8 exempt", "192.0.2.0/24 1"]);
    assert_eq!(decides, [true, true, false, true]);
}

#[test]
fn uplinks_are_apart_and_share_tables() {
    let rule = Owned::of("", "!10.0.0.0/8", "", Some(1));
    let mut compiler = Compiler::default();
    let (first, second) = (IfIndex::new(3), IfIndex::new(4));
    for uplink in [first, second] {
        compiler.add_uplink(uplink, &[rule.rule()]);
    }
    let uplinks: Vec<_> = compiler.sources.iter().map(|(_, key, rule)| (key.uplink, rule.id)).collect();
    assert_eq!(uplinks, [(first, 0), (second, 0)]);
    assert_eq!(compiler.destinations.len(), 2);
}

/// Few bits, so that networks overlap and addresses hit them.
fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    prop::sample::select(&[0u32, 1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 128, 255][..])
        .prop_map(|bits| Ipv4Addr::from(bits << 24 | bits << 8 | bits & 3))
}

fn networks() -> impl Strategy<Value = Ipv4Net> {
    (addresses(), prop::sample::select(&[0u8, 1, 4, 5, 6, 7, 8, 23, 24, 31, 32][..]))
        .prop_map(|(address, length)| Ipv4Net::new(address, length).unwrap().trunc())
}

fn matches() -> impl Strategy<Value = Networks> {
    prop::collection::vec((any::<bool>(), networks()), 0..4).prop_map(|items| {
        let mut networks = Networks::default();
        for (negated, network) in items {
            let _ = networks.add(NetworkMatch { negated, network });
        }
        networks
    })
}

fn rules() -> impl Strategy<Value = Vec<Owned>> {
    let rule = (matches(), matches(), prop::collection::vec(networks(), 0..3), prop::option::of(1..5u16));
    let rule = rule.prop_map(|(sources, destinations, except, mark)| Owned {
        sources,
        destinations,
        except,
        value: mark.map(value),
    });
    prop::collection::vec(rule, 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_maps_say_what_the_rules_say(
        rules in rules(),
        packets in prop::collection::vec((addresses(), addresses()), 40),
    ) {
        let (compiler, decides) = compile(&rules);
        for (source, destination) in packets {
            let expected = naive(&rules, source, destination);
            prop_assert_eq!(looked_up(&compiler, source, destination), expected, "{} to {}", source, destination);
        }
        let without: Vec<Owned> =
            rules.iter().zip(&decides).filter(|(_, decides)| **decides).map(|(rule, _)| rule.clone()).collect();
        prop_assert_eq!(&compile(&without).0.sources, &compiler.sources, "a rule said to decide nothing does");
    }

    #[test]
    fn every_table_has_an_entry_for_everything_and_no_key_twice(rules in rules()) {
        let (compiler, _) = compile(&rules);
        let mut sources = BTreeSet::new();
        for (length, key, rule) in &compiler.sources {
            prop_assert!(sources.insert((*length, key.source.to_wire())));
            let everything = |(length, key, _): &DestinationEntry| *length == PREFIX_BASE && key.rule == rule.id;
            prop_assert!(!rule.has(RuleFlags::DESTINATIONS) || compiler.destinations.iter().any(everything));
        }
        let mut destinations = BTreeSet::new();
        for (length, key, _) in &compiler.destinations {
            prop_assert!(destinations.insert((*length, key.rule, key.destination.to_wire())));
        }
    }
}
