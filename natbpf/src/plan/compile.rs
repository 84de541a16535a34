//! From rules in order, of which the first that matches decides, to two maps that are asked for the longest prefix: one of
//! sources, and one of destinations for the sources where they matter.
//!
//! Every network that some rule mentions is a node, and so is everything. The value of a node is for its addresses
//! that no longer node has, and these are all inside or all outside of every network that a rule mentions: so one decision
//! is right for all of them. What a shorter node says already is left out.

use std::collections::{BTreeSet, HashMap};

use ipnet::Ipv4Net;
use natbpf_common::{
    Address,
    contract::rules::{DestinationKey, PREFIX_BASE, Rule, SourceKey},
};

use crate::config::Networks;

/// A rule as an uplink has it.
#[derive(Clone, Copy, Debug)]
pub struct OrderedRule<'a> {
    pub sources: &'a Networks,
    pub destinations: &'a Networks,
    /// Destinations among these that are left alone.
    pub except: &'a [Ipv4Net],
    /// What the datapath does with what matches; `None`: it is left alone.
    pub value: Option<Rule>,
}

/// An entry of the map of sources: the length of its prefix ([`PREFIX_BASE`] included), its key, its value.
pub type SourceEntry = (u32, SourceKey, Rule);

/// An entry of the map of destinations.
pub type DestinationEntry = (u32, DestinationKey, Rule);

/// The contents of both maps.
#[derive(Debug, Default)]
pub struct Compiler {
    pub sources: Vec<SourceEntry>,
    pub destinations: Vec<DestinationEntry>,
    /// Each once, so that a number stands for it.
    values: Vec<Rule>,
    /// Numbers of the tables of destinations that have been made.
    tables: HashMap<Table, u32>,
}

/// What becomes of a packet: the number of a value, or it is left alone.
type Verdict = Option<usize>;

/// Verdicts for destinations; everything comes first.
type Table = Vec<(Ipv4Net, Verdict)>;

/// What becomes of the packets of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The same for every destination.
    Same(Verdict),
    /// It depends: number of a table.
    Table(u32),
}

/// A rule with its value's number.
struct Numbered<'a> {
    rule: OrderedRule<'a>,
    verdict: Verdict,
}

impl Compiler {
    /// Adds the rules of an uplink. Returns for each of them whether there is anything that it decides.
    pub fn add_uplink(&mut self, uplink: u32, rules: &[OrderedRule<'_>]) -> Vec<bool> {
        let rules: Vec<Numbered<'_>> = rules
            .iter()
            .map(|&rule| Numbered { rule, verdict: rule.value.map(|value| self.number(value)) })
            .collect();
        let mut decides = vec![false; rules.len()];
        let mut known: HashMap<Vec<usize>, Outcome> = HashMap::new();
        let mut kept: HashMap<Ipv4Net, Outcome> = HashMap::new();
        for node in nodes(rules.iter().flat_map(|numbered| numbered.rule.sources.mentioned())) {
            let applicable = applicable(&rules, node);
            let outcome = match known.get(&applicable) {
                Some(outcome) => *outcome,
                None => {
                    let outcome = self.outcome(&rules, &applicable, &mut decides);
                    known.insert(applicable, outcome);
                    outcome
                }
            };
            if inherited(&kept, node).unwrap_or(Outcome::Same(None)) != outcome {
                kept.insert(node, outcome);
                let key = SourceKey { uplink, source: Address::from(node.network()) };
                self.sources.push((prefix(node), key, self.source_value(outcome)));
            }
        }
        decides
    }

    fn number(&mut self, value: Rule) -> usize {
        self.values.iter().position(|known| *known == value).unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        })
    }

    /// What the applicable rules, in their order, decide together.
    fn outcome(&mut self, rules: &[Numbered<'_>], applicable: &[usize], decides: &mut [bool]) -> Outcome {
        let table = destinations(rules, applicable, decides);
        match &table[..] {
            [] => Outcome::Same(None),
            [(network, verdict)] if network.prefix_len() == 0 => Outcome::Same(*verdict),
            _ => Outcome::Table(self.table(table)),
        }
    }

    /// The number of a table, which is written if it is new.
    fn table(&mut self, table: Table) -> u32 {
        if let Some(id) = self.tables.get(&table) {
            return *id;
        }
        let id = self.tables.len() as u32;
        // Without an entry for everything a packet would find none, and the datapath takes that for no rule.
        let everything = Ipv4Net::default();
        if table.first().is_none_or(|(network, _)| *network != everything) {
            self.add_destination(id, everything, None);
        }
        for (network, verdict) in &table {
            self.add_destination(id, *network, *verdict);
        }
        self.tables.insert(table, id);
        id
    }

    fn add_destination(&mut self, id: u32, network: Ipv4Net, verdict: Verdict) {
        let key = DestinationKey { rule: id, destination: Address::from(network.network()) };
        self.destinations.push((prefix(network), key, self.value(verdict)));
    }

    fn value(&self, verdict: Verdict) -> Rule {
        verdict.map_or(Rule { flags: Rule::EXEMPT, ..Rule::default() }, |number| self.values[number])
    }

    fn source_value(&self, outcome: Outcome) -> Rule {
        match outcome {
            Outcome::Same(verdict) => self.value(verdict),
            Outcome::Table(id) => Rule { id, flags: Rule::DESTINATIONS, ..Rule::default() },
        }
    }
}

/// Everything and the networks, each once, the shortest prefix first.
fn nodes(networks: impl Iterator<Item = Ipv4Net>) -> Vec<Ipv4Net> {
    let mut nodes: BTreeSet<(u8, Ipv4Net)> =
        networks.map(|network| (network.prefix_len(), network)).collect();
    nodes.insert((0, Ipv4Net::default()));
    nodes.into_iter().map(|(_, network)| network).collect()
}

/// The rules that may decide about a node of the sources: those that are for it, up to the first that decides whatever the
/// destination is.
fn applicable(rules: &[Numbered<'_>], node: Ipv4Net) -> Vec<usize> {
    let mut applicable = Vec::new();
    for (index, numbered) in rules.iter().enumerate() {
        if numbered.rule.sources.covers(node) {
            applicable.push(index);
            if numbered.rule.destinations.is_everything() {
                break;
            }
        }
    }
    applicable
}

/// The verdicts for all destinations. What is left alone without a word is not in it.
fn destinations(rules: &[Numbered<'_>], applicable: &[usize], decides: &mut [bool]) -> Table {
    let mentioned = applicable.iter().flat_map(|&index| {
        let rule = rules[index].rule;
        rule.destinations.mentioned().chain(rule.except.iter().copied())
    });
    let mut table = Table::new();
    let mut kept = HashMap::new();
    for node in nodes(mentioned) {
        let first = applicable.iter().copied().find(|&index| rules[index].rule.destinations.covers(node));
        let verdict = first.and_then(|index| {
            decides[index] = true;
            let excepted = rules[index].rule.except.iter().any(|except| except.contains(&node));
            if excepted { None } else { rules[index].verdict }
        });
        if inherited(&kept, node).unwrap_or(None) != verdict {
            kept.insert(node, verdict);
            table.push((node, verdict));
        }
    }
    table
}

/// What the longest shorter prefix says.
fn inherited<T: Copy>(kept: &HashMap<Ipv4Net, T>, node: Ipv4Net) -> Option<T> {
    std::iter::successors(node.supernet(), Ipv4Net::supernet).find_map(|shorter| kept.get(&shorter).copied())
}

fn prefix(network: Ipv4Net) -> u32 {
    PREFIX_BASE + u32::from(network.prefix_len())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
        Rule { flags: Rule::PORTS, first_port: mark, last_port: mark, ..Rule::default() }
    }

    const UPLINK: u32 = 7;

    fn compile(rules: &[Owned]) -> (Compiler, Vec<bool>) {
        let mut compiler = Compiler::default();
        let rules: Vec<_> = rules.iter().map(Owned::rule).collect();
        let decides = compiler.add_uplink(UPLINK, &rules);
        (compiler, decides)
    }

    /// The first rule that matches.
    fn naive(rules: &[Owned], source: Ipv4Addr, destination: Ipv4Addr) -> Option<Rule> {
        let rule = rules
            .iter()
            .find(|rule| rule.sources.contains(source) && rule.destinations.contains(destination))?;
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
            key.uplink == UPLINK && within(source, key.source, length)
        })?;
        if rule.has(Rule::DESTINATIONS) {
            let id = rule.id;
            rule = longest(&compiler.destinations, |length, key: DestinationKey| {
                key.rule == id && within(destination, key.destination, length)
            })
            .expect("an entry for everything");
        }
        if rule.has(Rule::EXEMPT) { None } else { Some(rule) }
    }

    fn sources(compiler: &Compiler) -> Vec<String> {
        let text = |(length, key, rule): &SourceEntry| {
            let what = match rule.flags {
                Rule::DESTINATIONS => format!("table {}", rule.id),
                Rule::EXEMPT => "exempt".to_owned(),
                _ => rule.first_port.to_string(),
            };
            format!("{}/{} {what}", key.source, length - PREFIX_BASE)
        };
        compiler.sources.iter().map(text).collect()
    }

    fn destinations(compiler: &Compiler, id: u32) -> Vec<String> {
        let of = compiler.destinations.iter().filter(|(_, key, _)| key.rule == id);
        of.map(|(length, key, rule)| {
            let what = if rule.has(Rule::EXEMPT) { "exempt".to_owned() } else { rule.first_port.to_string() };
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
        let wide_first =
            [Owned::of("10.0.0.0/8", "", "", Some(1)), Owned::of("10.1.0.0/16", "", "", Some(2))];
        let (compiler, decides) = compile(&wide_first);
        assert_eq!((sources(&compiler), decides), (vec!["10.0.0.0/8 1".to_owned()], vec![true, false]));
        let narrow_first = [wide_first[1].clone(), wide_first[0].clone()];
        let (compiler, decides) = compile(&narrow_first);
        assert_eq!(sources(&compiler), ["10.0.0.0/8 1", "10.1.0.0/16 2"]);
        assert_eq!(decides, [true, true]);
    }

    #[test]
    fn what_is_exempt_has_an_entry_only_where_a_shorter_one_would_take_it() {
        let rules =
            [Owned::of("10.0.0.5 192.0.2.0/24", "", "", None), Owned::of("10.0.0.0/24", "", "", Some(1))];
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
        for uplink in [3, 4] {
            compiler.add_uplink(uplink, &[rule.rule()]);
        }
        let uplinks: Vec<_> = compiler.sources.iter().map(|(_, key, rule)| (key.uplink, rule.id)).collect();
        assert_eq!(uplinks, [(3, 0), (4, 0)]);
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
                prop_assert!(!rule.has(Rule::DESTINATIONS) || compiler.destinations.iter().any(everything));
            }
            let mut destinations = BTreeSet::new();
            for (length, key, _) in &compiler.destinations {
                prop_assert!(destinations.insert((*length, key.rule, key.destination.to_wire())));
            }
        }
    }
}
