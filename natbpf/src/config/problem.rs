//! What is wrong with a configuration whose single values are right.

use std::net::Ipv4Addr;

use natbpf_common::contract::{forwards::MAX_POOLS, uplinks::MAX_UPLINKS};

use super::{
    DatapathConfig, Redirection, Translation, behaviour::Contradiction, timeouts::TimeoutError,
    values::ValueError,
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
        "there is no [[masquerade]] here, and no [[forward]], [[floating]] or [[accelerate]], so there is nothing to do; \
         write one, a [[masquerade]] with out = \"UPLINK\" for instance"
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
    #[error("edges is empty; leave the key out to have them found")]
    NoEdge,
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
