//! `snat`, `dnat` and `masquerade`

use crate::import::{
    names,
    target::{DestinationNat, SourceNat, Verdict, addresses},
};

/// What a statement of this name says; `None` if it is not known.
pub fn verdict(name: &str, address: Option<&str>, ports: Option<&str>, flags: &[&str]) -> Option<Verdict> {
    let ports = match ports {
        Some(text) => Some(names::ports(text, &['-']).filter(|(first, _)| *first > 0)?),
        None => None,
    };
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
