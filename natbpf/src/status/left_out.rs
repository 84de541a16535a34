//! Interfaces that are meant and cannot be had.

use serde::{Deserialize, Serialize};

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

impl LeftOutStatus {
    /// As many are noted; the log has all.
    const NOTED: usize = 32;

    pub fn new(name: &str, role: Role, reason: &str) -> Self {
        Self { name: name.to_owned(), role: role.name().to_owned(), reason: reason.to_owned() }
    }

    /// What the daemon leaves for `natbpf status`; nothing if nothing is left out.
    pub fn to_note(all: &[Self]) -> Option<String> {
        let noted = all.get(..Self::NOTED).unwrap_or(all);
        if noted.is_empty() { None } else { serde_json::to_string(noted).ok() }
    }

    pub fn of_note(note: Option<String>) -> Vec<Self> {
        note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default()
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![self.name.clone(), self.role.clone(), self.reason.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_written_and_none_says_nothing() {
        let all = vec![LeftOutStatus::new("w1", Role::Uplink, "\"somebody's\" filter"); 40];
        assert_eq!(LeftOutStatus::of_note(LeftOutStatus::to_note(&all)), all[..32]);
        assert_eq!(LeftOutStatus::to_note(&[]), None);
        assert!(LeftOutStatus::of_note(None).is_empty());
    }
}
