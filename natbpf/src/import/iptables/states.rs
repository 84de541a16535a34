//! States of conntrack, as packets have them that conntrack has not translated before.

use crate::import::matching::{Match, outside};

/// What one of the states in a list matches; `None` if there is no such state.
pub fn alternatives(list: &str) -> Option<Vec<Match>> {
    let mut some = Vec::new();
    for state in list.split(',') {
        some.push(match state.to_ascii_uppercase().as_str() {
            "NEW" => Match { established: Some(false), ..Match::default() },
            "ESTABLISHED" => Match { established: Some(true), ..Match::default() },
            "DNAT" => Match { redirected: Some(true), ..Match::default() },
            // Nothing has been masqueraded yet where rules are asked for it.
            "RELATED" | "INVALID" | "UNTRACKED" | "SNAT" => continue,
            _ => return None,
        });
    }
    // So they do not overlap.
    Some(outside(&outside(&some)))
}
