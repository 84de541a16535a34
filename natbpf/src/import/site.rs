//! What is the same for all that leads inside, and for all that one rule leads there.

use std::net::Ipv4Addr;

use super::{
    filters::Filters,
    flatten::Item,
    matching::Pattern,
    target::{DestinationNat, Verdict},
    written::Written,
};

/// What is the same for all forwards.
#[derive(Debug)]
pub struct Site<'a> {
    /// Uplinks that the operator named.
    pub named: &'a [String],
    /// Those that are more than natbpf can have.
    pub too_many: &'a [String],
    /// Uplinks that rules of POSTROUTING have.
    pub uplinks: Vec<Pattern>,
    pub written: &'a [Written],
    /// What POSTROUTING does with what is redirected.
    pub after: &'a [Item],
    /// What PREROUTING does: what comes from inside is part of it.
    pub before: &'a [Item],
    /// Other tables.
    pub filters: &'a Filters,
}

impl Site<'_> {
    /// Whether an interface is an uplink by a rule that is imported, or because the operator says so.
    pub fn is_uplink(&self, name: &str) -> bool {
        self.named.iter().any(|named| named == name)
            || self.uplinks.iter().any(|uplink| uplink.covers(&Pattern::exact(name)))
    }

    /// Whether nothing translates sources: then nothing but DNAT says what is an uplink.
    pub fn translates_no_source(&self) -> bool {
        let translates = |item: &Item| matches!(item.verdict, Verdict::Source(_) | Verdict::Other(_));
        self.named.is_empty() && self.uplinks.is_empty() && !self.after.iter().any(translates)
    }
}

/// A DNAT as it is written for one uplink.
#[derive(Clone, Copy, Debug)]
pub struct Redirect<'a> {
    pub site: &'a Site<'a>,
    pub item: &'a Item,
    pub nat: &'a DestinationNat,
    pub uplink: &'a str,
}

/// Networks of which every site has its own.
pub fn is_site_local(address: Ipv4Addr) -> bool {
    address.is_private() || address.is_link_local() || matches!(address.octets(), [100, 64..=127, ..])
}
