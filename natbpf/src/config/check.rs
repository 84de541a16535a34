//! What is wrong with a configuration whose single values are right.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use natbpf_common::config::MAX_UPLINKS;

use super::{DatapathConfig, MasqueradeRule, timeouts::TimeoutError, values::ValueError};

/// A fault of the configuration, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file is no TOML, or its keys or types are not those of a configuration.
    #[error("{0}; see `natbpf run --help` for an example")]
    Syntax(String),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
    #[error(
        "there is no [[masquerade]] here, so nothing would be translated; write one with out = \"UPLINK\""
    )]
    NoRule,
    #[error("source is empty; leave the key out to masquerade every source, or the rule to masquerade none")]
    NoSource,
    #[error(
        "max_flows = {0} is not within {min} to {max}",
        min = DatapathConfig::MIN_FLOWS,
        max = DatapathConfig::MAX_FLOWS
    )]
    MaxFlows(u32),
    #[error(
        "{out} is one uplink too many; an instance has at most {MAX_UPLINKS}, start another one with --instance"
    )]
    TooManyUplinks { out: String },
    #[error("the source {network} of {out} is given twice; leave one out")]
    Duplicate { out: String, network: Ipv4Net },
    #[error(
        "the sources {first} and {second} of {out} overlap; a packet follows one rule only, so narrow one of them"
    )]
    Overlap { out: String, first: Ipv4Net, second: Ipv4Net },
}

/// A problem and where it is.
#[derive(Debug)]
pub struct Misfit {
    /// Index of the rule.
    pub rule: usize,
    /// Index of one of its sources, if it is that.
    pub source: Option<usize>,
    pub problem: Problem,
}

/// Checks the rules against each other.
pub fn check(rules: &[MasqueradeRule]) -> Result<(), Misfit> {
    let mut uplinks = BTreeSet::new();
    let mut seen: Vec<(&str, Ipv4Net)> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let out = &rule.out;
        uplinks.insert(out);
        if uplinks.len() > MAX_UPLINKS {
            let problem = Problem::TooManyUplinks { out: out.clone() };
            return Err(Misfit { rule: index, source: None, problem });
        }
        for (place, &network) in rule.sources.iter().enumerate() {
            let clash = seen.iter().find(|(uplink, other)| uplink == out && overlap(*other, network));
            if let Some(&(_, other)) = clash {
                let problem = if other == network {
                    Problem::Duplicate { out: out.clone(), network }
                } else {
                    Problem::Overlap { out: out.clone(), first: other, second: network }
                };
                return Err(Misfit { rule: index, source: Some(place), problem });
            }
            seen.push((out, network));
        }
    }
    Ok(())
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}
