//! Checks of the documents: how long they are, whether their links lead somewhere, and whether what is made from elsewhere is up to date.

mod links;
mod modules;

use std::{env, fs, io, path::Path};

use crate::command::workspace;

/// Lines that a chapter may have.
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

/// All files with this ending in a folder and those below it, in order.
fn files(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let below = files(&entry.path(), ending)?;
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else if name.ends_with(ending) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
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
    for chapter in CHAPTERS {
        let file = format!("{ARCHITECTURE}/{chapter}");
        let lines = read(&workspace().join(&file)).lines().count();
        assert!(
            lines <= CHAPTER_LINES,
            "{file} has {lines} lines, more than {CHAPTER_LINES}: move something to another page"
        );
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
