//! What is wrong with a configuration whose single values are right.

use std::{
    collections::{BTreeSet, HashSet},
    net::Ipv4Addr,
};

use natbpf_common::contract::{forwards::MAX_POOLS, uplinks::MAX_UPLINKS};

use super::{
    Action, Config, DatapathConfig, Floating, Redirection, Translation, behaviour::Contradiction,
    timeouts::TimeoutError, values::ValueError,
};

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
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error(
        "there is no [[masquerade]] here, and no [[forward]] or [[floating]], so nothing would be translated; \
         write one with out = \"UPLINK\""
    )]
    NoRule,
    #[error("source is empty; leave the key out to masquerade every source, or the rule to masquerade none")]
    NoSource,
    #[error("destination is empty; leave the key out for every destination, or the rule for none")]
    NoDestination,
    #[error("to is empty; leave the key out to translate to the uplink's address")]
    NoPool,
    #[error(
        "ports is empty; leave the key out to have them found, or write offload = \"off\" in [datapath] to offload nothing"
    )]
    NoPort,
    #[error("{key} says nothing in a rule with action = \"exempt\", which translates nothing; leave it out")]
    Meaningless { key: &'static str },
    #[error(
        "inside names interfaces for hairpin, which is off in this rule; write hairpin = true, or leave inside out"
    )]
    InsideWithoutHairpin,
    #[error("there are two [[interface]] named {0}; leave one out")]
    InterfaceTwice(String),
    #[error("new_flows_per_second = {0} is not within 0 to {max}", max = Translation::MAX_RATE)]
    Rate(u32),
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
    #[error(
        "this is one pool too many; there can be at most {MAX_POOLS} different ones, of 64 addresses each"
    )]
    TooManyPools,
    #[error("--forward and --floating need an uplink, and {0} may be several; name one with -o")]
    NoUplinkNamed(String),
    #[error(
        "the forwards {first} and {second} of {uplink} overlap; a packet can go to one host only, so narrow one of them"
    )]
    ForwardsOverlap { uplink: String, first: Redirection, second: Redirection },
    #[error("the floating address {0} is given twice; it belongs to one host, so leave one out")]
    FloatingTwice(Ipv4Addr),
    #[error(
        "{host} has the floating address {first} on this uplink already; \
         its own traffic can come from one address only, so use a [[forward]] for the other"
    )]
    FloatingHost { host: Ipv4Addr, first: Ipv4Addr },
    #[error(
        "the floating address {0} is in the pool of a rule, too; it belongs to one host, so leave it out of the pool"
    )]
    FloatingInPool(Ipv4Addr),
}

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

/// Checks the parts against each other.
pub fn check(config: &Config) -> Result<(), Misfit> {
    check_uplinks(config)?;
    check_pools(config)?;
    check_forwards(config)?;
    check_floating(config)
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
