//! Whether the parts of a configuration go together.

use std::collections::{BTreeSet, HashSet};

use natbpf_common::contract::{forwards::MAX_POOLS, uplinks::MAX_UPLINKS};

use super::{Action, Config, Floating, Problem, Translation};

/// A problem and where it is.
#[derive(Debug)]
pub struct Misfit {
    pub place: Place,
    pub problem: Problem,
}

/// What of the configuration a problem is about, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The uplink of a rule.
    Out(usize),
    /// The pool of a rule.
    Pool(usize),
    /// The uplink of a forward.
    ForwardUplink(usize),
    /// The ports of a forward.
    ForwardPorts(usize),
    FloatingUplink(usize),
    FloatingAddress(usize),
    FloatingTarget(usize),
}

impl Config {
    /// Checks the parts against each other.
    pub fn check(&self) -> Result<(), Misfit> {
        check_uplinks(self)?;
        check_pools(self)?;
        check_forwards(self)?;
        check_floating(self)
    }
}

fn check_uplinks(config: &Config) -> Result<(), Misfit> {
    // What a pattern matches is not known before the start.
    let rules = config.rules.iter().enumerate().map(|(index, rule)| (Place::Out(index), rule.out.name()));
    let forwards = config.forwards.iter().enumerate();
    let forwards = forwards.map(|(index, forward)| (Place::ForwardUplink(index), Some(&*forward.uplink)));
    let floating = config.floating.iter().enumerate();
    let floating = floating.map(|(index, floating)| (Place::FloatingUplink(index), Some(&*floating.uplink)));
    let mut uplinks = BTreeSet::new();
    for (place, uplink) in rules.chain(forwards).chain(floating) {
        uplinks.extend(uplink);
        if uplinks.len() > MAX_UPLINKS {
            let out = uplink.unwrap_or_default().to_owned();
            return Err(Misfit { place, problem: Problem::TooManyUplinks { out } });
        }
    }
    Ok(())
}

fn check_pools(config: &Config) -> Result<(), Misfit> {
    let mut pools = HashSet::new();
    for (index, rule) in config.rules.iter().enumerate() {
        if let Action::Masquerade(translation) = &rule.action {
            pools.extend(&translation.pool);
        }
        if pools.len() > MAX_POOLS as usize {
            return Err(Misfit { place: Place::Pool(index), problem: Problem::TooManyPools });
        }
    }
    Ok(())
}

fn check_forwards(config: &Config) -> Result<(), Misfit> {
    for (index, forward) in config.forwards.iter().enumerate() {
        let clash = config.forwards[..index]
            .iter()
            .find(|other| other.uplink == forward.uplink && other.redirection.overlaps(&forward.redirection));
        if let Some(other) = clash {
            let (first, second) = (other.redirection, forward.redirection);
            let problem = Problem::ForwardsOverlap { uplink: forward.uplink.clone(), first, second };
            return Err(Misfit { place: Place::ForwardPorts(index), problem });
        }
    }
    Ok(())
}

fn check_floating(config: &Config) -> Result<(), Misfit> {
    for (index, floating) in config.floating.iter().enumerate() {
        let (address, earlier) = (floating.pair.external, &config.floating[..index]);
        if earlier.iter().any(|other| other.pair.external == address) {
            let problem = Problem::FloatingTwice(address);
            return Err(Misfit { place: Place::FloatingAddress(index), problem });
        }
        let same_host =
            |other: &&Floating| other.uplink == floating.uplink && other.pair.inside == floating.pair.inside;
        if let Some(other) = earlier.iter().find(same_host) {
            let problem = Problem::FloatingHost { host: floating.pair.inside, first: other.pair.external };
            return Err(Misfit { place: Place::FloatingTarget(index), problem });
        }
        let pooled = config.rules.iter().any(|rule| match &rule.action {
            Action::Masquerade(Translation { pool: Some(pool), .. }) => pool.addresses().contains(&address),
            _ => false,
        });
        if pooled {
            let problem = Problem::FloatingInPool(address);
            return Err(Misfit { place: Place::FloatingAddress(index), problem });
        }
    }
    Ok(())
}
