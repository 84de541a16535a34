//! Rules of the host that have to see every packet.

use serde::{Deserialize, Serialize};

use super::note::Noted;
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

impl Noted for ObstacleStatus {
    const MOST: usize = 32;
}

impl ObstacleStatus {
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
    fn traffic_is_said_in_words() {
        let (name, what) = ("limit".to_owned(), "limits how many packets come (\"limit\")".to_owned());
        let traffic = Traffic { protocol: Some(17), ports: Some(vec![(53, 53)]), ..Traffic::default() };
        let found = Obstacle { place: "ip t c handle 7".to_owned(), name, what, traffic };
        assert_eq!(ObstacleStatus::from(&found).traffic, "udp 53");
    }
}
