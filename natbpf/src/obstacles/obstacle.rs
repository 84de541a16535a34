//! What was found.

use std::fmt;

use super::traffic::Traffic;

/// A rule that has to see every packet of some traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// Family, table, chain and rule: `ip filter FORWARD handle 7`.
    pub place: String,
    /// The expression, match or target: `limit`, `NFQUEUE`.
    pub name: String,
    /// What it does, in words.
    pub what: String,
    /// The packets that it is about.
    pub traffic: Traffic,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.what)
    }
}
