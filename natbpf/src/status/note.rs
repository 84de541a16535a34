//! What the daemon leaves for `natbpf status`, as far as the kernel does not know it: a text beside the pins.

use serde::{Serialize, de::DeserializeOwned};

/// Things that are noted.
pub trait Noted: Serialize + DeserializeOwned {
    /// As many are; the log has all.
    const MOST: usize;

    /// Nothing if there are none.
    fn to_note(all: &[Self]) -> Option<String> {
        let noted = all.get(..Self::MOST).unwrap_or(all);
        if noted.is_empty() { None } else { serde_json::to_string(noted).ok() }
    }

    fn of_note(note: Option<String>) -> Vec<Self> {
        note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Thing(String);

    impl Noted for Thing {
        const MOST: usize = 3;
    }

    #[test]
    fn a_note_says_what_was_written_and_none_says_nothing() {
        let all = vec![Thing("\"somebody's\" filter".to_owned()); 5];
        assert_eq!(Thing::of_note(Thing::to_note(&all)), all[..3]);
        assert_eq!(Thing::to_note(&[]), None);
        assert!(Thing::of_note(None).is_empty());
    }
}
