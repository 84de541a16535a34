//! Places in what is read, and text that may be printed.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

/// Where a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The number of the rule among all; no two rules have the same.
    pub id: usize,
    /// From 1.
    pub number: usize,
    /// As it stands there, without counters in front and with nothing in it that a terminal obeys.
    pub text: String,
}

/// How many lines a sentence names.
const NAMED: usize = 8;

/// Lines by their numbers, as the subject of a sentence.
#[derive(Debug)]
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn new<'a>(numbers: impl IntoIterator<Item = &'a usize>) -> Self {
        let numbers: BTreeSet<_> = numbers.into_iter().copied().collect();
        Self(numbers.into_iter().collect())
    }

    /// One word or the other, by how many they are.
    pub fn or(&self, one: &'static str, several: &'static str) -> &'static str {
        if self.0.len() == 1 { one } else { several }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().take(NAMED).map(usize::to_string).collect();
        match (&numbers[..], self.0.len() - numbers.len()) {
            ([one], _) => write!(f, "line {one}"),
            ([first @ .., last], 0) => write!(f, "lines {} and {last}", first.join(", ")),
            (named, more) => write!(f, "lines {} and {more} more", named.join(", ")),
        }
    }
}

/// Adds to a list what is not in it, so that nothing is said twice.
pub fn push_new<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
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
    fn lines_in_a_sentence() {
        let said = |numbers: &[usize]| Lines::new(numbers).to_string();
        assert_eq!([said(&[3]), said(&[3, 5])], ["line 3", "lines 3 and 5"]);
        assert_eq!(said(&[1, 2, 3]), "lines 1, 2 and 3");
        assert_eq!(said(&(1..=10).collect::<Vec<_>>()), "lines 1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
        assert_eq!([Lines::new(&[1]).or("is", "are"), Lines::new(&[1, 2]).or("is", "are")], ["is", "are"]);
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(printable("a\u{1b}[1m\tb\u{202e}ü"), "a\\u{1b}[1m b\\u{202e}ü");
        assert_eq!(printable("line\r\nnext\u{85}"), "line\\u{d}\\u{a}next\\u{85}");
    }
}
