//! Whether the parts of a configuration go together.

use std::collections::{BTreeSet, HashSet};

use natbpf_common::contract::{forwards::MAX_POOLS, uplinks::MAX_UPLINKS};

use super::{Action, Config, Floating, Problem, Translation, keys::Wrong};

impl Config {
    /// Checks the parts against each other.
    pub fn check(&self) -> Result<(), Wrong> {
        check_uplinks(self)?;
        check_pools(self)?;
        check_forwards(self)?;
        check_floating(self)
    }
}

fn check_uplinks(config: &Config) -> Result<(), Wrong> {
    // What a pattern matches is not known before the start.
    let rules = config.rules.iter().enumerate();
    let rules = rules.map(|(index, rule)| (("masquerade", index), "out", rule.out.name()));
    let forwards = config.forwards.iter().enumerate();
    let forwards = forwards.map(|(index, forward)| (("forward", index), "in", Some(&*forward.uplink)));
    let floating = config.floating.iter().enumerate();
    let floating = floating.map(|(index, floating)| (("floating", index), "uplink", Some(&*floating.uplink)));
    let mut uplinks = BTreeSet::new();
    for (table, key, uplink) in rules.chain(forwards).chain(floating) {
        uplinks.extend(uplink);
        if uplinks.len() > MAX_UPLINKS {
            let out = uplink.unwrap_or_default().to_owned();
            return Err(Wrong { table, ..Wrong::at(key)(Problem::TooManyUplinks { out }) });
        }
    }
    Ok(())
}

fn check_pools(config: &Config) -> Result<(), Wrong> {
    let mut pools = HashSet::new();
    for (index, rule) in config.rules.iter().enumerate() {
        if let Action::Masquerade(translation) = &rule.action {
            pools.extend(&translation.pool);
        }
        if pools.len() > MAX_POOLS as usize {
            return Err(Wrong { table: ("masquerade", index), ..Wrong::at("to")(Problem::TooManyPools) });
        }
    }
    Ok(())
}

fn check_forwards(config: &Config) -> Result<(), Wrong> {
    for (index, forward) in config.forwards.iter().enumerate() {
        let clash = config.forwards[..index]
            .iter()
            .find(|other| other.uplink == forward.uplink && other.redirection.overlaps(&forward.redirection));
        if let Some(other) = clash {
            let (first, second) = (other.redirection, forward.redirection);
            let problem = Problem::ForwardsOverlap { uplink: forward.uplink.clone(), first, second };
            return Err(Wrong { table: ("forward", index), ..Wrong::at("port")(problem) });
        }
    }
    Ok(())
}

fn check_floating(config: &Config) -> Result<(), Wrong> {
    for (index, floating) in config.floating.iter().enumerate() {
        let (address, earlier) = (floating.pair.external, &config.floating[..index]);
        if earlier.iter().any(|other| other.pair.external == address) {
            let problem = Problem::FloatingTwice(address);
            return Err(Wrong { table: ("floating", index), ..Wrong::at("address")(problem) });
        }
        let same_host =
            |other: &&Floating| other.uplink == floating.uplink && other.pair.inside == floating.pair.inside;
        if let Some(other) = earlier.iter().find(same_host) {
            let problem = Problem::FloatingHost { host: floating.pair.inside, first: other.pair.external };
            return Err(Wrong { table: ("floating", index), ..Wrong::at("to")(problem) });
        }
        let pooled = config.rules.iter().any(|rule| match &rule.action {
            Action::Masquerade(Translation { pool: Some(pool), .. }) => pool.addresses().contains(&address),
            _ => false,
        });
        if pooled {
            let problem = Problem::FloatingInPool(address);
            return Err(Wrong { table: ("floating", index), ..Wrong::at("address")(problem) });
        }
    }
    Ok(())
}
