//! States of conntrack, as the first packet of a flow has them: rules of nat see no other.

use crate::import::matching::Match;

/// What `--ctstate` matches; `None` if there is no such state.
pub fn alternatives(list: &str, negated: bool) -> Option<Vec<Match>> {
    let mut first = false;
    let mut redirected = false;
    for state in list.split(',') {
        match state.to_ascii_uppercase().as_str() {
            "NEW" => first = true,
            "DNAT" => redirected = true,
            // Nothing has been masqueraded yet where rules are asked for it.
            "ESTABLISHED" | "RELATED" | "INVALID" | "UNTRACKED" | "SNAT" => {}
            _ => return None,
        }
    }
    Some(match (first, redirected, negated) {
        (true, _, false) | (false, false, true) => vec![Match::default()],
        (true, _, true) | (false, false, false) => vec![],
        (false, true, negated) => vec![Match { redirected: Some(!negated), ..Match::default() }],
    })
}
