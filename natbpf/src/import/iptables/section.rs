//! A table as it is built up, line by line.

use std::collections::BTreeMap;

use super::{family::Family, rule, step::Step};
use crate::import::{ImportError, line::Line, ruleset::Policy};

#[derive(Debug)]
pub struct Section {
    pub table: String,
    /// Whether something said which table it is.
    pub named: bool,
    /// What the comment above it said, or the program.
    pub header: Option<Family>,
    /// Where it begins.
    pub line: Line,
    pub chains: BTreeMap<String, RawChain>,
}

#[derive(Debug, Default)]
pub struct RawChain {
    pub declared: bool,
    pub policy: Option<Policy>,
    pub line: Line,
    pub rules: Vec<(Line, Vec<String>)>,
}

impl Section {
    pub fn new(table: &str, header: Option<Family>, line: Line) -> Self {
        Self { table: table.to_owned(), named: true, header, line, chains: BTreeMap::new() }
    }

    /// What `iptables -S` prints does not say of which table it is.
    pub fn unnamed(header: Option<Family>, line: Line) -> Self {
        Self { named: false, ..Self::new("", header, line) }
    }

    pub fn apply(&mut self, step: Step, line: Line) -> Result<(), ImportError> {
        let number = line.number;
        let place = |at: usize, places: usize| {
            at.checked_sub(1).filter(|at| *at < places).ok_or(ImportError::Place { line: number })
        };
        match step {
            Step::Append { chain, rule } => self.chain(chain).rules.push((line, rule)),
            Step::Insert { chain, at, rule } => {
                let rules = &mut self.chain(chain).rules;
                rules.insert(place(at, rules.len() + 1)?, (line, rule));
            }
            Step::Replace { chain, at, rule } => {
                let rules = &mut self.chain(chain).rules;
                let at = place(at, rules.len())?;
                rules[at] = (line, rule);
            }
            Step::Delete { chain, rule } => {
                let rules = &mut self.chain(chain).rules;
                let by_number = if let [word] = &rule[..] { word.parse().ok() } else { None };
                let at = match by_number {
                    Some(at) => Some(place(at, rules.len())?),
                    None => rules.iter().position(|(_, words)| rule::is_same(words, &rule)),
                };
                if let Some(at) = at {
                    rules.remove(at);
                } else if let Some((like, _)) =
                    rules.iter().find(|(_, words)| rule::may_be_same(words, &rule))
                {
                    let why =
                        format!("it is not certain whether it deletes the rule of line {}", like.number);
                    return Err(ImportError::Unread { line: number, why });
                }
                // What is not there was there before, and is of no concern.
            }
            Step::Declare { chain, policy } => {
                let chain = self.chain(chain);
                (chain.declared, chain.line, chain.policy) = (true, line, policy);
            }
            Step::Flush { chain: Some(chain) } => self.chain(chain).rules.clear(),
            Step::Flush { chain: None } => self.chains.values_mut().for_each(|chain| chain.rules.clear()),
            Step::Nothing => {}
        }
        Ok(())
    }

    /// Whether a step belongs to another table: `iptables -S` prints the policies of a table before all else.
    pub fn is_over(&self, next: &Step) -> bool {
        let Step::Declare { chain, policy: Some(_) } = next else { return false };
        let has_policy = |chain: &RawChain| chain.policy.is_some();
        // Where a table has them, PREROUTING comes first of all, and INPUT next.
        let first = match chain.as_str() {
            "PREROUTING" => !self.chains.is_empty(),
            "INPUT" => self.chains.keys().any(|name| name != "PREROUTING"),
            _ => false,
        };
        first
            || self.chains.get(chain).is_some_and(has_policy)
            || self.chains.values().any(|chain| !has_policy(chain) || !chain.rules.is_empty())
    }

    /// Lines of several tables in one.
    pub fn check_chains(&self) -> Result<(), ImportError> {
        match self.chains.get("FORWARD") {
            Some(chain) if self.table == "nat" && self.family() != Some(Family::V6) => {
                let line = chain.rules.first().map_or(&chain.line, |(line, _)| line).number;
                Err(ImportError::Mixed { line })
            }
            _ => Ok(()),
        }
    }

    fn chain(&mut self, name: String) -> &mut RawChain {
        self.chains.entry(name).or_default()
    }

    pub fn rules(&self) -> usize {
        self.chains.values().map(|chain| chain.rules.len()).sum()
    }

    /// `None` if nothing says it.
    pub fn family(&self) -> Option<Family> {
        let rules = || self.chains.values().flat_map(|chain| &chain.rules);
        self.header.or_else(|| rules().find_map(|(_, words)| Family::of_rule(words)))
    }

    /// Whether another one is the next chains of the same table, as `iptables -S CHAIN` prints them.
    pub fn is_continued_by(&self, next: &Self) -> bool {
        let of_ipv4 = |section: &Self| !section.named && section.family() != Some(Family::V6);
        of_ipv4(self)
            && of_ipv4(next)
            && self.table == next.table
            && !next.chains.keys().any(|name| self.chains.contains_key(name))
    }

    /// Finds out what is not said: chains and targets that only the table nat has.
    pub fn settle_table(&mut self) -> Result<(), ImportError> {
        if self.named {
            return Ok(());
        }
        let targets = ["MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"];
        let translates = |words: &[String]| {
            words.iter().zip(words.iter().skip(1)).any(|(option, value)| {
                matches!(option.as_str(), "-j" | "--jump") && targets.contains(&value.as_str())
            })
        };
        let mut rules = self.chains.values().flat_map(|chain| &chain.rules);
        let has = |name: &str| self.chains.contains_key(name);
        let nat = rules.any(|(_, words)| translates(words))
            || (has("PREROUTING") && has("POSTROUTING") && !has("FORWARD"));
        let hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].map(has);
        let has_rules = |name: &str| self.chains.get(name).is_some_and(|chain| !chain.rules.is_empty());
        let may_be_nat = has_rules("PREROUTING") || has_rules("POSTROUTING");
        let table = match hooks {
            _ if nat => "nat",
            [true, false, false, true, false] => "raw",
            [true, _, true, ..] | [.., true, _, true] => "mangle",
            _ if may_be_nat && self.family() != Some(Family::V6) => {
                return Err(ImportError::WhichTable { line: self.line.number });
            }
            _ => "filter",
        };
        table.clone_into(&mut self.table);
        Ok(())
    }
}
