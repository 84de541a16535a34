//! A table as the rest of the import has it.

use std::collections::BTreeMap;

use super::{rule, section::Section};
use crate::import::{
    line::Line,
    ruleset::{Base, Chain, Hook, Kind, Policy, Table},
};

/// With hooks for the chains that iptables has built in.
pub fn table(section: Section) -> Table {
    let mut table = Table { name: section.table.clone(), chains: BTreeMap::new() };
    for (name, chain) in section.chains {
        let policy = chain.policy.unwrap_or_default();
        let base = base(&section.table, &name, policy, &chain.line);
        let mut rules = Vec::new();
        for (line, words) in chain.rules {
            let mut rule = rule::parse(&words);
            rule.line = line;
            rules.push(rule);
        }
        if base.is_none() && rules.is_empty() && !chain.declared {
            continue;
        }
        table.chains.insert(name, Chain { base, rules });
    }
    table
}

fn base(table: &str, chain: &str, policy: Policy, line: &Line) -> Option<Base> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (kind, priority) = match table {
        "nat" => (Kind::Nat, -100),
        "raw" => (Kind::Filter, -300),
        "mangle" => (Kind::Filter, -150),
        _ => (Kind::Filter, 0),
    };
    Some(Base { kind, hook, priority, policy, line: line.clone() })
}
