//! Where in the file something stands.

use std::ops::Range;

use toml::Spanned;

use crate::config::{Problem, values::ValueError};

/// A text and where it stands.
pub type Text = Spanned<String>;

/// A problem and the bytes of the file that it is about.
pub struct Misplaced {
    pub span: Range<usize>,
    pub problem: Problem,
}

/// Each of a list.
pub fn list<T>(raw: &[Text], parse: impl Fn(&str) -> Result<T, ValueError>) -> Result<Vec<T>, Misplaced> {
    raw.iter().map(|text| value(text, &parse)).collect()
}

/// What a text says, or where it is wrong.
pub fn value<T>(raw: &Text, parse: impl FnOnce(&str) -> Result<T, ValueError>) -> Result<T, Misplaced> {
    parse(raw.get_ref()).map_err(|error| Misplaced { span: raw.span(), problem: error.into() })
}

/// Line and column of a byte of a text, both from 1.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
