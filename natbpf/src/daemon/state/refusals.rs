//! Interfaces that could not be had.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use natbpf_common::IfIndex;
use tokio::time::Instant;

use super::others::concerns;
use crate::{datapath::Role, plan::Refused};

/// Until an interface is tried again to which attaching has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug, Default)]
pub struct Refusals {
    pub now: Refused,
    /// When attaching failed, which the kernel has told everybody of, and us: what was added first was taken off again.
    failed: BTreeMap<(IfIndex, Role), Instant>,
    /// What the operator was told, by name and role.
    pub said: BTreeMap<(String, Role), String>,
}

impl Refusals {
    /// All of them are tried again, but for those that were tried just now.
    pub fn forget(&mut self) {
        self.failed.retain(|_, failed| failed.elapsed() < PAUSE);
        self.now.retain(|place, _| self.failed.contains_key(place));
    }

    /// The numbers of interfaces that are gone may be others' soon.
    pub fn forget_removed(&mut self, removed: &BTreeSet<IfIndex>) {
        self.failed.retain(|(interface, _), _| !removed.contains(interface));
        self.now.retain(|(interface, _), _| !removed.contains(interface));
    }

    pub fn note_failure(&mut self, place: (IfIndex, Role)) {
        self.failed.insert(place, Instant::now());
    }

    /// Whether changes there may be what we have done ourselves.
    pub fn just_failed(&self, place: (IfIndex, Role)) -> bool {
        self.failed.get(&place).is_some_and(|failed| failed.elapsed() < PAUSE)
    }

    pub fn concern(&self, interfaces: &BTreeSet<IfIndex>) -> bool {
        self.now.keys().any(|place| concerns(interfaces, place.0) && !self.just_failed(*place))
    }
}
