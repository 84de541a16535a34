//! Checks of the documents: how long they are, whether their links lead somewhere, and whether what is made
//! from elsewhere is up to date.

mod links;
mod modules;
mod picture;

use std::{env, fs, path::Path};

use crate::{files::files, folders::workspace};

/// Lines that a page may have.
const README_LINES: usize = 120;
const CHAPTER_LINES: usize = 200;

/// Characters that a line of the architecture may have.
const WIDTH: usize = 130;

const ARCHITECTURE: &str = "docs/architecture";
const CHAPTERS: [&str; 4] = ["packet.md", "flows.md", "paths.md", "contract.md"];

/// With this variable, what is made from elsewhere is written and not compared.
const RENEW: &str = "NATBPF_RENEW";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Compares a file with what it should be, or writes it. `test` is a part of the test's name.
fn compare_or_renew(file: &str, expected: &str, test: &str) {
    let path = workspace().join(file);
    if env::var_os(RENEW).is_some() {
        fs::write(&path, expected).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    assert!(
        found == expected,
        "{file} is not up to date; renew it by `{RENEW}=1 cargo test -p xtask {test}`\n\
         line {} is\n  {}\nand should be\n  {}",
        line + 1,
        at(&found),
        at(expected),
    );
}

#[test]
fn pages_are_short() {
    let chapters = CHAPTERS.map(|chapter| (format!("{ARCHITECTURE}/{chapter}"), CHAPTER_LINES));
    for (file, most) in chapters.into_iter().chain([("README.md".to_owned(), README_LINES)]) {
        let lines = read(&workspace().join(&file)).lines().count();
        assert!(lines <= most, "{file} has {lines} lines, more than {most}: move something to another page");
    }
}

#[test]
fn lines_of_the_architecture_are_not_wide() {
    let folder = workspace().join(ARCHITECTURE);
    for file in files(&folder, ".md").expect("the folder can be read") {
        for (number, line) in read(&folder.join(&file)).lines().enumerate() {
            let width = line.chars().count();
            assert!(width <= WIDTH, "{ARCHITECTURE}/{file}:{} has {width} characters: {line}", number + 1);
        }
    }
}

/// `meets 219 of 239` and the like, of natbpf and of netfilter.
fn rows_met(conformance: &str) -> Vec<&str> {
    let rows = conformance.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(" meets "));
    let rows = rows.map(|(_, met)| met.strip_suffix(" that it can be compared in").unwrap_or(met));
    rows.filter(|met| met.starts_with(|first: char| first.is_ascii_digit())).collect()
}

#[test]
fn the_readme_counts_as_the_conformance_table_does() {
    let conformance = read(&workspace().join("docs/conformance.md"));
    let readme = read(&workspace().join("README.md"));
    let rows = rows_met(&conformance);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for met in rows {
        assert!(readme.contains(met), "README.md does not say `{met}`, as docs/conformance.md does");
    }
}

#[test]
fn counts_are_found_in_the_conformance_table() {
    let text = "- 5 rows\n- natbpf meets 3 of 4\n- netfilter meets 1 of the 2 that it can be compared in\n- both meets a\n";
    assert_eq!(rows_met(text), ["3 of 4", "1 of the 2"]);
}
