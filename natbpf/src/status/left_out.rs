//! Interfaces that are meant and cannot be had.

use serde::{Deserialize, Serialize};

use super::note::Noted;
use crate::datapath::Role;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutStatus {
    pub name: String,
    /// `uplink`, `inside` or `port`.
    pub role: String,
    /// Why, and what to do.
    pub reason: String,
}

impl Noted for LeftOutStatus {
    const MOST: usize = 32;
}

impl LeftOutStatus {
    pub fn new(name: &str, role: Role, reason: &str) -> Self {
        Self { name: name.to_owned(), role: role.name().to_owned(), reason: reason.to_owned() }
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![self.name.clone(), self.role.clone(), self.reason.clone()]
    }
}
