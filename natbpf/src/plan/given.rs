//! What a plan is made from.

use natbpf_common::IfIndex;
use std::collections::BTreeMap;

use super::PlanError;
use crate::{
    config::{Config, Interfaces},
    datapath::Role,
    network::{Link, Snapshot},
};

/// What becomes of what is for an interface that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is a mistake: at the start and when the configuration is read again.
    Refused,
    /// It waits until the interface comes.
    #[default]
    LeftOut,
}

/// By interface index and role: why it could not be had when it was tried.
pub type Refused = BTreeMap<(IfIndex, Role), String>;

/// What each stage looks at.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub config: &'a Config,
    pub snapshot: &'a Snapshot,
    pub missing: Missing,
    /// Interfaces that could not be had when it was tried.
    pub refused: &'a Refused,
}

impl<'a> Given<'a> {
    /// The interfaces that are meant. A port of a bridge or bond is none by pattern: nothing is routed out of it.
    pub fn links(&self, out: &Interfaces) -> Result<Vec<&'a Link>, PlanError> {
        if let Some(name) = out.name() {
            return Ok(self.find(name)?.into_iter().collect());
        }
        let meant = |link: &&Link| out.matches(&link.name) && !link.port && link.link_header().is_some();
        Ok(self.snapshot.links.iter().filter(meant).collect())
    }

    /// An interface that is named.
    pub fn find(&self, name: &str) -> Result<Option<&'a Link>, PlanError> {
        let found = self.snapshot.links.iter().find(|link| link.name == name);
        if found.is_none() && self.missing == Missing::Refused {
            let existing = self.snapshot.links.iter().map(|link| link.name.clone()).collect();
            return Err(PlanError::NoInterface { name: name.to_owned(), existing });
        }
        Ok(found)
    }

    /// Why an interface is left out. What is named is a mistake, at the start and when the configuration is read again.
    pub fn reason(&self, named: bool, error: PlanError) -> Result<String, PlanError> {
        if named && self.missing == Missing::Refused { Err(error) } else { Ok(error.to_string()) }
    }
}
