//! The paths in the tokens of a macro or an attribute, roughly.

use proc_macro2::{Ident, TokenStream, TokenTree};

use super::uses::line_of;

#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub path: Vec<String>,
    pub line: usize,
}

/// Paths of one segment only where they look like a type or a constant; others are mostly variables, fields
/// and keywords.
pub fn paths(tokens: TokenStream) -> Vec<Found> {
    let mut scan = Scan::default();
    scan.stream(tokens);
    scan.found
}

/// As [`paths`], with those in strings, such as `#[serde(with = "crate::time")]`.
pub fn paths_and_strings(tokens: TokenStream) -> Vec<Found> {
    let mut scan = Scan { strings: true, ..Scan::default() };
    scan.stream(tokens);
    scan.found
}

#[derive(Default)]
struct Scan {
    strings: bool,
    found: Vec<Found>,
    /// The path that is being read; it ends where anything but `::name` follows.
    path: Option<Found>,
    /// The punctuation since the last name, literal or group.
    signs: String,
}

impl Scan {
    fn stream(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => self.name(&name),
                TokenTree::Punct(sign) => self.signs.push(sign.as_char()),
                TokenTree::Group(group) => {
                    self.end();
                    self.stream(group.stream());
                    self.end();
                }
                TokenTree::Literal(literal) => {
                    self.end();
                    if self.strings {
                        self.string(&literal.to_string(), literal.span().start().line);
                    }
                }
            }
        }
        self.end();
    }

    fn name(&mut self, name: &Ident) {
        if let Some(found) = self.path.as_mut().filter(|_| self.signs == "::") {
            found.path.push(name.to_string());
        } else {
            let begins = self.may_begin(name);
            self.end();
            self.path = begins.then(|| Found { path: vec![name.to_string()], line: line_of(name) });
        }
        self.signs.clear();
    }

    /// Not so for methods, lifetimes, what belongs to a type in brackets, and variables of a macro.
    fn may_begin(&self, name: &Ident) -> bool {
        let signs = self.signs.as_str();
        let is_method = signs.ends_with('.') && !signs.ends_with("..");
        let is_variable = signs.ends_with('$') && name != "crate";
        !is_method && !is_variable && !signs.ends_with('\'') && !signs.ends_with("::")
    }

    fn string(&mut self, literal: &str, line: usize) {
        let path: Vec<_> = literal.trim_matches('"').split("::").map(str::to_owned).collect();
        let is_name = |word: &String| syn::parse_str::<Ident>(word).is_ok() || is_keyword_of_paths(word);
        if path.len() > 1 && path.iter().all(is_name) {
            self.found.push(Found { path, line });
        }
    }

    fn end(&mut self) {
        self.signs.clear();
        let looks_like_type = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
        self.found
            .extend(self.path.take().filter(|found| found.path.len() > 1 || looks_like_type(&found.path[0])));
    }
}

fn is_keyword_of_paths(word: &str) -> bool {
    ["crate", "self", "super"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: Vec<Found>) -> Vec<String> {
        found.iter().map(|found| format!("{} {}", found.line, found.path.join("::"))).collect()
    }

    fn in_macro(tokens: &str) -> Vec<String> {
        shown(paths(tokens.parse().unwrap()))
    }

    #[test]
    fn paths_in_tokens_are_found_with_their_lines() {
        assert_eq!(
            in_macro("a + crate::x::Y,\n[super::f(b), $crate::g]"),
            ["1 crate::x::Y", "2 super::f", "2 crate::g"]
        );
    }

    #[test]
    fn single_names_are_found_only_if_they_look_like_types_or_constants() {
        assert_eq!(in_macro("let name: Type = 0..LIMIT;"), ["1 Type", "1 LIMIT"]);
    }

    #[test]
    fn methods_lifetimes_and_variables_of_macros_are_no_paths() {
        assert!(in_macro("a.B::<u8>(), 'C, $D, <u8>::E, ::F").is_empty());
    }

    #[test]
    fn paths_in_strings_are_found_where_asked_for() {
        let tokens = r#"with = "super::time", rename = "Plain", help = "see crate::x for more""#;
        assert_eq!(shown(paths_and_strings(tokens.parse().unwrap())), ["1 super::time"]);
        assert!(in_macro(tokens).is_empty());
    }
}
