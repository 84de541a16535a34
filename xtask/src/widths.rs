//! How wide comments are: rustfmt breaks code, and leaves comments as they are.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use serde::Deserialize;

use crate::files::files;

/// Columns that a line with nothing but a comment may have, indentation included. Code has fewer, see rustfmt.toml.
const COLUMNS: usize = 120;

#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    members: Vec<String>,
}

/// Prints what is too wide, all at once; anything is an error.
pub fn check(workspace: &Path) -> Result<()> {
    let report = inspect(workspace)?;
    if report.findings.is_empty() {
        println!("widths: {} files, no comment wider than {COLUMNS} columns", report.files);
        return Ok(());
    }
    for finding in &report.findings {
        eprintln!("{finding}");
    }
    bail!("widths: {} comments are too wide; break them at words", report.findings.len());
}

#[derive(Debug, Default)]
struct Report {
    files: usize,
    findings: Vec<String>,
}

/// Looks at all members of the workspace. A checkout without git will do, so what cargo has built is left out by its
/// folder.
fn inspect(workspace: &Path) -> Result<Report> {
    let mut report = Report::default();
    for member in members(workspace)? {
        let folder = workspace.join(&member);
        let files = files(&folder, ".rs")
            .with_context(|| format!("cannot read the files of {}", folder.display()))?;
        for file in files.iter().filter(|file| !file.starts_with("target/")) {
            let path = folder.join(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let wide = wide_comments(&text).with_context(|| format!("cannot parse {}", path.display()))?;
            report.files += 1;
            report.findings.extend(wide.into_iter().map(|(line, columns)| {
                format!("{member}/{file}:{line}: a comment of {columns} columns, {COLUMNS} at most")
            }));
        }
    }
    Ok(report)
}

fn members(workspace: &Path) -> Result<Vec<String>> {
    let file = workspace.join("Cargo.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))?;
    Ok(manifest.workspace.members)
}

/// The lines that are too wide, with their columns.
fn wide_comments(text: &str) -> Result<Vec<(usize, usize)>> {
    let lines = text.lines().enumerate().filter(|(_, line)| can_be_broken(line));
    let widths = lines.map(|(index, line)| (index + 1, line.chars().count()));
    let mut wide: Vec<_> = widths.filter(|(_, columns)| *columns > COLUMNS).collect();
    if !wide.is_empty() {
        let mut strings = BTreeSet::new();
        add_lines_of_strings(syn::parse_str(text)?, &mut strings);
        wide.retain(|(line, _)| !strings.contains(line));
    }
    Ok(wide)
}

/// Whether a line is a comment and has a place to break it at: a row of a table has none, nor has a single word such
/// as an address on the web.
fn can_be_broken(line: &str) -> bool {
    let Some(comment) = line.trim_start().strip_prefix("//") else { return false };
    let is_row = comment.starts_with("/ |") || comment.starts_with("! |");
    !is_row && comment.trim_start_matches(['/', '!']).split_whitespace().nth(1).is_some()
}

/// Adds the lines that begin in the middle of a string: what looks like a comment there is none.
fn add_lines_of_strings(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => add_lines_of_strings(group.stream(), lines),
            TokenTree::Literal(literal) => {
                let span = literal.span();
                lines.extend(span.start().line + 1..=span.end().line);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Two words of so many columns.
    fn words(columns: usize) -> String {
        format!("a {}", "b".repeat(columns - 2))
    }

    fn wide(text: &str) -> Vec<(usize, usize)> {
        wide_comments(text).unwrap()
    }

    #[test]
    fn comment_may_have_as_many_columns_as_are_allowed() {
        for marker in ["// ", "/// ", "//! "] {
            let room = COLUMNS - marker.len();
            assert_eq!(wide(&format!("{marker}{}\n", words(room))), []);
            assert_eq!(wide(&format!("\n{marker}{}\n", words(room + 1))), [(2, COLUMNS + 1)]);
        }
    }

    #[test]
    fn indentation_counts_and_letters_count_once() {
        let comment = format!("    // {}\n", words(COLUMNS - 6));
        assert_eq!(wide(&comment), [(1, COLUMNS + 1)]);
        assert_eq!(wide(&format!("// é {}\n", "é".repeat(COLUMNS - 5))), []);
    }

    #[test]
    fn code_is_left_to_rustfmt() {
        let text = words(COLUMNS);
        assert_eq!(wide(&format!("const A: &str = \"{text}\"; // {text}\n")), []);
    }

    #[test]
    fn string_is_no_comment() {
        let text = words(COLUMNS);
        let source = format!("f(\"\n// {text}\n\", r#\"\n    // {text}\"#);\n// {text}\n");
        assert_eq!(wide(&source), [(5, COLUMNS + 3)]);
    }

    #[test]
    fn what_cannot_be_broken_may_be_wider() {
        let word = "a".repeat(COLUMNS);
        assert_eq!(wide(&format!("// https://{word}\n    /// {word}\n//! {word}\n")), []);
        assert_eq!(wide(&format!("/// | {word} | {word} |\n//! | {word} |\n")), []);
        assert_eq!(wide(&format!("// see {word}\n")).len(), 1);
    }

    #[test]
    fn every_member_is_looked_at_without_what_was_built() {
        let folder = TempDir::new().unwrap();
        let write = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let wide = format!("// {}\n", words(COLUMNS));
        write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\n");
        write("a/src/deep/target/x.rs", &wide);
        write("a/target/y.rs", &wide);
        write("a/src/notes.txt", &wide);
        write("b/build.rs", "fn main() {}\n");
        write("c/src/lib.rs", &wide);
        let report = inspect(folder.path()).unwrap();
        assert_eq!(report.files, 2);
        assert_eq!(report.findings, ["a/src/deep/target/x.rs:1: a comment of 123 columns, 120 at most"]);
    }
}
