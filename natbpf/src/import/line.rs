//! Places in what is read, and text that may be printed.

use std::fmt::Write as _;

/// Where a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Of the rule among all; no two have the same.
    pub id: usize,
    /// From 1.
    pub number: usize,
    /// As it stands there, without counters in front and with nothing in it that a terminal obeys.
    pub text: String,
}

/// Writes control characters, and what turns the direction of text round, as escapes: what stands in a rule is
/// somebody else's, and is printed to a terminal and into comments of a file.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match character {
            '\t' => printable.push(' '),
            _ if character.is_control() || turns => {
                // Writing to a string does not fail.
                let _ = write!(printable, "\\u{{{:x}}}", u32::from(character));
            }
            _ => printable.push(character),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(printable("a\u{1b}[1m\tb\u{202e}ü"), "a\\u{1b}[1m b\\u{202e}ü");
        assert_eq!(printable("line\r\nnext\u{85}"), "line\\u{d}\\u{a}next\\u{85}");
    }
}
