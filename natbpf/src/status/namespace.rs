//! Other network namespaces that packets pass.

use serde::{Deserialize, Serialize};

use crate::network::Middle;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceStatus {
    pub name: String,
    /// The kernel's number of it (`SO_NETNS_COOKIE`).
    pub cookie: u64,
    /// What has to see each packet there, so that nothing is repeated.
    pub obstacle: Option<String>,
}

impl NamespaceStatus {
    /// As many are noted; the log has all.
    const NOTED: usize = 256;

    /// What the daemon leaves for `natbpf status`; nothing if no namespace is passed.
    pub fn to_note(all: &[Self]) -> Option<String> {
        let noted = all.get(..Self::NOTED).unwrap_or(all);
        if noted.is_empty() { None } else { serde_json::to_string(noted).ok() }
    }

    pub fn of_note(note: Option<String>) -> Vec<Self> {
        note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default()
    }

    pub(super) fn row(&self) -> Vec<String> {
        let what = match &self.obstacle {
            None => "follows what changes there".to_owned(),
            Some(obstacle) => format!("repeats nothing: {obstacle}"),
        };
        vec![self.name.clone(), what]
    }
}

impl From<&Middle> for NamespaceStatus {
    fn from(middle: &Middle) -> Self {
        Self { name: middle.handle.to_string(), cookie: middle.cookie, obstacle: middle.obstacle.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_written_and_none_says_nothing() {
        let one = NamespaceStatus { name: "qrouter-1".to_owned(), cookie: 4097, obstacle: None };
        let all = vec![one; 300];
        assert_eq!(NamespaceStatus::of_note(NamespaceStatus::to_note(&all)), all[..256]);
        assert_eq!(NamespaceStatus::to_note(&[]), None);
        assert!(NamespaceStatus::of_note(None).is_empty());
    }
}
