//! Rules of the host that have to see every packet.

use serde::{Deserialize, Serialize};

use crate::obstacles::Obstacle;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObstacleStatus {
    /// Family, table, chain and rule.
    pub place: String,
    /// `limit`, `quota`, `helper`, …
    pub name: String,
    /// What it does, in words.
    pub what: String,
    /// The packets that are left to the kernel for it.
    pub traffic: String,
}

impl ObstacleStatus {
    /// As many are noted.
    const NOTED: usize = 32;

    /// What the daemon leaves for `natbpf status`; nothing if nothing was found.
    pub fn to_note(all: &[Obstacle]) -> Option<String> {
        let noted: Vec<Self> = all.iter().take(Self::NOTED).map(Self::from).collect();
        if noted.is_empty() { None } else { serde_json::to_string(&noted).ok() }
    }

    pub fn of_note(note: Option<String>) -> Vec<Self> {
        note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default()
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![self.place.clone(), self.traffic.clone(), self.what.clone()]
    }
}

impl From<&Obstacle> for ObstacleStatus {
    fn from(found: &Obstacle) -> Self {
        let Obstacle { place, name, what, traffic } = found;
        Self { place: place.clone(), name: name.clone(), what: what.clone(), traffic: traffic.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::obstacles::Traffic;

    #[test]
    fn a_note_says_what_was_found_and_none_says_nothing() {
        let what = "limits how many packets come (\"limit\")".to_owned();
        let traffic = Traffic { protocol: Some(17), ports: Some(vec![(53, 53)]), ..Traffic::default() };
        let found = Obstacle { place: "ip t c handle 7".to_owned(), name: "limit".to_owned(), what, traffic };
        let read = ObstacleStatus::of_note(ObstacleStatus::to_note(&vec![found.clone(); 40]));
        assert_eq!(read, vec![ObstacleStatus::from(&found); 32]);
        assert_eq!(read[0].traffic, "udp 53");
        assert_eq!(ObstacleStatus::to_note(&[]), None);
        assert!(ObstacleStatus::of_note(None).is_empty());
    }
}
