//! A table as it is built up, line by line.

use std::collections::BTreeMap;

use super::{family::Family, words::Words};
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
    pub policy: Policy,
    pub line: Line,
    pub rules: Vec<(Line, Vec<String>)>,
}

/// What a line does to a table.
#[derive(Debug)]
pub enum Step {
    Append { chain: String, rule: Vec<String> },
    Insert { chain: String, at: usize, rule: Vec<String> },
    Replace { chain: String, at: usize, rule: Vec<String> },
    Delete { chain: String, rule: Vec<String> },
    Declare { chain: String, policy: Option<Policy> },
    Flush { chain: Option<String> },
    Nothing,
}

impl Step {
    /// `None` if it is no line of a table.
    pub fn parse(words: &[String]) -> Option<Self> {
        let (first, rest) = words.split_first()?;
        if let Some(chain) = first.strip_prefix(':') {
            let policy = rest.first().and_then(|policy| policy_of(policy));
            return Some(Self::Declare { chain: chain.to_owned(), policy });
        }
        let chain = || rest.first().cloned();
        let number = || rest.get(1).and_then(|word| word.parse::<usize>().ok());
        let after = |count: usize| rest.get(count..).unwrap_or_default().to_vec();
        Some(match first.as_str() {
            "-A" | "--append" => Self::Append { chain: chain()?, rule: after(1) },
            "-I" | "--insert" => match number() {
                Some(at) => Self::Insert { chain: chain()?, at, rule: after(2) },
                None => Self::Insert { chain: chain()?, at: 1, rule: after(1) },
            },
            "-R" | "--replace" => Self::Replace { chain: chain()?, at: number()?, rule: after(2) },
            "-D" | "--delete" => Self::Delete { chain: chain()?, rule: after(1) },
            "-N" | "--new-chain" | "--new" => Self::Declare { chain: chain()?, policy: None },
            "-P" | "--policy" => Self::Declare { chain: chain()?, policy: Some(policy_of(rest.get(1)?)?) },
            "-F" | "--flush" => Self::Flush { chain: chain() },
            "-X" | "--delete-chain" | "-Z" | "--zero" | "-C" | "--check" | "-L" | "--list" | "-S" => {
                Self::Nothing
            }
            _ => return None,
        })
    }
}

fn policy_of(word: &str) -> Option<Policy> {
    match word {
        "ACCEPT" => Some(Policy::Accept),
        "DROP" => Some(Policy::Drop),
        _ => None,
    }
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
        let out_of_place = || ImportError::Place { line: number };
        match step {
            Step::Append { chain, rule } => self.chain(chain).rules.push((line, rule)),
            Step::Insert { chain, at, rule } => {
                let rules = &mut self.chain(chain).rules;
                let at = at.checked_sub(1).filter(|at| *at <= rules.len()).ok_or_else(out_of_place)?;
                rules.insert(at, (line, rule));
            }
            Step::Replace { chain, at, rule } => {
                let rules = &mut self.chain(chain).rules;
                let place = at.checked_sub(1).and_then(|at| rules.get_mut(at)).ok_or_else(out_of_place)?;
                *place = (line, rule);
            }
            Step::Delete { chain, rule } => {
                let rules = &mut self.chain(chain).rules;
                let by_number = match &rule[..] {
                    [word] => word.parse::<usize>().ok(),
                    _ => None,
                };
                match by_number {
                    Some(at) => {
                        let at = at.checked_sub(1).filter(|at| *at < rules.len()).ok_or_else(out_of_place)?;
                        rules.remove(at);
                    }
                    // What is not there was there before, and is of no concern.
                    None => {
                        if let Some(at) = rules.iter().position(|(_, words)| *words == rule) {
                            rules.remove(at);
                        }
                    }
                }
            }
            Step::Declare { chain, policy } => {
                let chain = self.chain(chain);
                (chain.declared, chain.line) = (true, line);
                chain.policy = policy.unwrap_or_default();
            }
            Step::Flush { chain } => match chain {
                Some(chain) => self.chain(chain).rules.clear(),
                None => self.chains.values_mut().for_each(|chain| chain.rules.clear()),
            },
            Step::Nothing => {}
        }
        Ok(())
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

    /// Finds out what is not said: chains and targets that only the table nat has.
    pub fn settle_table(&mut self) {
        if self.named {
            return;
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
        self.table = if nat { "nat" } else { "filter" }.to_owned();
    }
}

/// The value of `-t`.
pub fn named_table(words: &[String]) -> Option<&str> {
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            "-t" | "--table" => return words.next(),
            _ if word.starts_with("--table=") => return word.split_once('=').map(|(_, table)| table),
            "--comment" => {
                words.next();
            }
            _ => {}
        }
    }
    None
}

/// The command without options that are not the rule's.
pub fn without_table(words: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            "-t" | "--table" => {
                words.next();
            }
            "-w" | "--wait" => {
                words.value();
            }
            "-v" | "-n" => {}
            _ if word.starts_with("--table=") => {}
            _ => left.push(word.to_owned()),
        }
    }
    left
}
