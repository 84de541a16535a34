//! Interfaces that are meant and cannot be had. They are no reason to give up the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Missing, Plan, PlanError};
use crate::{
    config::Config,
    datapath::Role,
    network::{Link, Snapshot},
};

/// By interface index and role: why it could not be had when it was tried.
pub type Refused = BTreeMap<(u32, Role), String>;

/// An interface that is meant and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub role: Role,
    pub reason: String,
}

impl Config {
    /// Interface indexes of the uplinks that are named, and not only matched by a pattern.
    pub(super) fn named_uplinks(&self, snapshot: &Snapshot) -> BTreeSet<u32> {
        let rules = self.rules.iter().filter_map(|rule| rule.out.name());
        let forwards = self.forwards.iter().map(|forward| &*forward.uplink);
        let floating = self.floating.iter().map(|floating| &*floating.uplink);
        let names: BTreeSet<&str> = rules.chain(forwards).chain(floating).collect();
        let named = snapshot.links.iter().filter(|link| names.contains(&*link.name));
        named.map(|link| link.index).collect()
    }
}

impl Plan {
    pub(super) fn leave_out(&mut self, link: &Link, role: Role, reason: String) {
        let known = self.left_out.iter().any(|left| (left.interface, left.role) == (link.index, role));
        if !known {
            self.left_out.push(LeftOut { name: link.name.clone(), interface: link.index, role, reason });
        }
    }

    /// What is named is a mistake, at the start and when the configuration is read again.
    pub(super) fn refuse(
        &mut self,
        link: &Link,
        role: Role,
        named: bool,
        error: PlanError,
    ) -> Result<(), PlanError> {
        if named && self.missing == Missing::Refused {
            return Err(error);
        }
        self.leave_out(link, role, error.to_string());
        Ok(())
    }
}
