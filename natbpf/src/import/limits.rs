//! What a configuration can have so many of and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use natbpf_common::contract::{
    forwards::{MAX_POOL, MAX_POOLS},
    uplinks::MAX_UPLINKS,
};

use super::{inward::Inward, target::SourceNat, written::Written};

/// Why lines are left out that would make too many of something, by their ids.
pub type Refused = BTreeMap<usize, String>;

/// Whether there is no room for one more uplink.
pub fn is_full<'a>(uplink: &str, written: &[Written], inwards: impl Iterator<Item = &'a Inward>) -> bool {
    let rules = written.iter().filter_map(|rule| rule.piece.output.name());
    let uplinks: BTreeSet<_> = rules.chain(inwards.map(|inward| inward.uplink.as_str())).collect();
    uplinks.len() >= MAX_UPLINKS && !uplinks.contains(uplink)
}

pub fn too_many(uplink: &str) -> String {
    format!(
        "{uplink} is one uplink too many; an instance has at most {MAX_UPLINKS}, start another one with --instance"
    )
}

/// Why natbpf has no pool like this.
pub fn pool(nat: &SourceNat) -> Option<String> {
    let (first, last) = nat.to?;
    if let Some(address) = [first, last].into_iter().find(|address| !can_be_host(*address)) {
        return Some(format!("{address} cannot be the address of a host"));
    }
    let more = u32::from(last) - u32::from(first);
    (more as usize >= MAX_POOL).then(|| {
        format!("a pool of natbpf has at most {MAX_POOL} addresses; make another rule for other sources with the rest")
    })
}

/// The rules whose pools are too many.
pub fn pools(rules: &[Written]) -> Refused {
    let mut pools = BTreeSet::new();
    let mut refused = Refused::new();
    for rule in rules {
        let Some(pool) = rule.nat.as_ref().and_then(|nat| nat.to) else { continue };
        if pools.contains(&pool) || pools.len() < MAX_POOLS as usize {
            pools.insert(pool);
        } else {
            let why =
                format!("its addresses are one pool too many; natbpf has at most {MAX_POOLS} different ones");
            refused.insert(rule.line.id, why);
        }
    }
    refused
}

/// As the configuration takes them.
pub fn can_be_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}
