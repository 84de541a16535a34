//! From rules in order, of which the first that matches decides, to two maps that are asked for the longest
//! prefix: one of sources, and one of destinations for the sources where they matter.
//!
//! Every network that some rule mentions is a node, and so is everything. The value of a node is for its
//! addresses that no longer node has, and these are all inside or all outside of every network that a rule
//! mentions: so one decision is right for all of them. What a shorter node says already is left out.

use std::collections::{BTreeSet, HashMap};

use ipnet::Ipv4Net;
use natbpf_common::{
    Address, IfIndex,
    contract::rules::{DestinationKey, PREFIX_BASE, Rule, RuleFlags, SourceKey},
};

use crate::config::Networks;

#[cfg(test)]
mod tests;

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
    pub fn add_uplink(&mut self, uplink: IfIndex, rules: &[OrderedRule<'_>]) -> Vec<bool> {
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
        verdict.map_or(Rule { flags: RuleFlags::EXEMPT, ..Rule::default() }, |number| self.values[number])
    }

    fn source_value(&self, outcome: Outcome) -> Rule {
        match outcome {
            Outcome::Same(verdict) => self.value(verdict),
            Outcome::Table(id) => Rule { id, flags: RuleFlags::DESTINATIONS, ..Rule::default() },
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

/// The rules that may decide about a node of the sources: those that are for it, up to the first that decides
/// whatever the destination is.
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
        // Row M03.
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
