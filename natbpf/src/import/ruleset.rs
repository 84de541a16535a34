//! The form in which every input is: tables, chains, and rules with a list of what they match and a target.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    line::Line,
    matching::Match,
    target::{Target, Verdict},
    unknown,
};

/// All that was read.
#[derive(Debug, Default)]
pub struct Ruleset {
    pub tables: Vec<Table>,
    /// What makes no sense, or is no rule.
    pub odd: Vec<(Line, String)>,
    /// What else there is to say.
    pub remarks: Vec<String>,
    /// Tables were printed one by one, so that one which is not there was not given.
    pub single_tables: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    /// As it is said to the operator: `nat`, or `ip nat` of nftables.
    pub name: String,
    pub chains: BTreeMap<String, Chain>,
}

#[derive(Clone, Debug, Default)]
pub struct Chain {
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub kind: Kind,
    pub hook: Hook,
    pub priority: i64,
    /// What becomes of what gets to its end.
    pub policy: Policy,
    /// The line that says so.
    pub line: Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nat,
    Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    /// Ingress and egress of a device.
    Device,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    #[default]
    Accept,
    Drop,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub line: Line,
    /// It is for what one of these matches. Where something is unknown, it is for less than that.
    pub pieces: Vec<Match>,
    /// What was not understood.
    pub unknown: Option<String>,
    /// What was not understood may be a condition on the destination.
    pub asks_destination: bool,
    /// What it matches is not tracked, and so not translated: NOTRACK. The next rule is asked all the same.
    pub untracks: bool,
    pub target: Target,
    /// The chain does not go on after the target's: `-g`.
    pub goto: bool,
}

impl Rule {
    pub fn do_not_know(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.asks_destination |= unknown::may_ask_destination(&what);
        self.unknown.get_or_insert(what);
    }

    pub fn verdict(&mut self, verdict: Verdict) {
        self.target = Target::Do(verdict);
    }
}

impl Ruleset {
    /// The base chains of a kind at a hook, in the order in which the kernel calls them, each with its table.
    pub fn bases(&self, kind: Kind, hook: Hook) -> Vec<(&Table, &str, &Base)> {
        let chains =
            self.tables.iter().flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
        let bases = chains.filter_map(|(table, (name, chain))| {
            let base = chain.base.as_ref().filter(|base| base.kind == kind && base.hook == hook)?;
            Some((table, name.as_str(), base))
        });
        let mut bases: Vec<_> = bases.collect();
        bases.sort_by_key(|(_, _, base)| base.priority);
        bases
    }

    /// Whether there is anything that translates, or could.
    pub fn has_nat(&self) -> bool {
        self.tables.iter().any(Table::is_nat)
    }
}

impl Table {
    /// Whether it has a chain that translates. That of iptables has, also if it is not mentioned.
    pub fn is_nat(&self) -> bool {
        self.name == "nat" || self.bases().any(|base| base.kind == Kind::Nat)
    }

    pub fn bases(&self) -> impl Iterator<Item = &Base> {
        self.chains.values().filter_map(|chain| chain.base.as_ref())
    }

    /// Names of nftables have a family in front.
    pub fn is_of_nftables(&self) -> bool {
        self.name.contains(' ')
    }

    /// Chains that are asked only where nothing translates: a table of nftables may have both kinds.
    pub fn only_filtering(&self) -> BTreeSet<&str> {
        let nat = self.reached(Kind::Nat);
        self.reached(Kind::Filter).difference(&nat).copied().collect()
    }

    /// The base chains of a kind, and all that they call.
    fn reached(&self, kind: Kind) -> BTreeSet<&str> {
        let of_kind = |chain: &Chain| chain.base.as_ref().is_some_and(|base| base.kind == kind);
        let bases = self.chains.iter().filter(|(_, chain)| of_kind(chain));
        self.called(bases.map(|(name, _)| name.as_str()).collect())
    }

    /// The rules of a chain and of all that it calls.
    pub fn called_from(&self, name: &str) -> impl Iterator<Item = &Rule> {
        let called =
            self.called(self.chains.get_key_value(name).into_iter().map(|(name, _)| &**name).collect());
        called.into_iter().filter_map(|name| self.chains.get(name)).flat_map(|chain| &chain.rules)
    }

    fn called<'a>(&'a self, mut next: Vec<&'a str>) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                for rule in self.chains.get(name).into_iter().flat_map(|chain| &chain.rules) {
                    if let Target::Jump(name) = &rule.target {
                        next.push(name);
                    }
                }
            }
        }
        reached
    }

    pub fn rules(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.chains.iter().flat_map(|(name, chain)| chain.rules.iter().map(move |rule| (name.as_str(), rule)))
    }
}
