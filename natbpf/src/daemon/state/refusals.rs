//! Interfaces that could not be had.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    failed: BTreeMap<(u32, Role), Instant>,
    /// What the operator was told, by name and role.
    pub said: BTreeMap<(String, Role), String>,
}

impl Refusals {
    /// All of them are tried again, but for those that were tried just now.
    pub fn forget(&mut self) {
        self.failed.retain(|_, failed| failed.elapsed() < PAUSE);
        self.now.retain(|place, _| self.failed.contains_key(place));
    }

    /// All of them are tried again, and where they cannot be had that is told once more.
    pub fn forget_all(&mut self) {
        self.now.clear();
    }

    /// The numbers of interfaces that are gone may be others' soon.
    pub fn forget_removed(&mut self, removed: &BTreeSet<u32>) {
        self.failed.retain(|(interface, _), _| !removed.contains(interface));
        self.now.retain(|(interface, _), _| !removed.contains(interface));
    }

    pub fn note_failure(&mut self, interface: u32, role: Role) {
        self.failed.insert((interface, role), Instant::now());
    }

    /// Whether changes there may be what we have done ourselves.
    pub fn just_failed(&self, interface: u32, role: Role) -> bool {
        self.failed.get(&(interface, role)).is_some_and(|failed| failed.elapsed() < PAUSE)
    }

    pub fn any(&self) -> bool {
        !self.now.is_empty()
    }

    pub fn concern(&self, interfaces: &BTreeSet<u32>) -> bool {
        let mut refused = self.now.keys();
        refused
            .any(|&(interface, role)| concerns(interfaces, interface) && !self.just_failed(interface, role))
    }
}
