//! `snat`, `dnat` and `masquerade`

use super::parts;
use crate::import::{
    names,
    ruleset::Rule,
    target::{self, DestinationNat, SourceNat, Verdict, addresses},
};

/// What a statement of this name says; `None` if it is not known.
pub fn verdict(name: &str, address: Option<&str>, ports: Option<&str>, flags: &[&str]) -> Option<Verdict> {
    let ports = names::ports_if_any(ports)?;
    if ports.is_some_and(|(first, _)| first == 0) {
        return None;
    }
    let mut nat = SourceNat { ports, ..SourceNat::default() };
    for flag in flags {
        match *flag {
            "random" | "fully-random" => nat.random = true,
            "persistent" => nat.persistent = true,
            _ => return None,
        }
    }
    match (name, address) {
        ("masquerade", None) => Some(Verdict::Source(nat)),
        ("snat", Some(text)) => Some(Verdict::Source(SourceNat { to: Some(addresses(text)?), ..nat })),
        ("dnat", Some(text)) => {
            let one = ports.is_none_or(|(first, last)| first == last);
            (one || !nat.random).then_some(())?;
            Some(Verdict::Destination(DestinationNat { address: text.parse().ok()?, ports, base: None }))
        }
        _ => None,
    }
}

/// Sets what a rule does: a translation that is known, or one that is not.
pub fn finish(rule: &mut Rule, name: &str, verdict: Option<Verdict>, why_not: impl FnOnce() -> String) {
    match verdict {
        Some(verdict) => rule.verdict(verdict),
        None => {
            rule.do_not_know(why_not());
            parts::other(rule, name);
        }
    }
}

/// Why a statement is not known.
pub fn why_not(name: &str, address: Option<&str>, ports: Option<&str>, map: bool) -> String {
    if map {
        return format!("natbpf does not know the map after {name}");
    }
    let address = address.unwrap_or_default();
    let to = ports.map_or(address.to_owned(), |ports| format!("{address}:{ports}"));
    let known = (name == "dnat" && !to.is_empty()).then(|| target::why_not(&to)).flatten();
    known.unwrap_or_else(|| format!("natbpf does not know what follows {name}"))
}
