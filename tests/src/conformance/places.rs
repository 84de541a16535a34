//! Where in the product's code a row is met: it is cited there in a comment, as `Row U01` or `Rows U01, U04`.
//! Its test is cited by the row itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{row::Row, rows};

const SOURCES: [&str; 3] = ["natbpf/src", "natbpf-common/src", "natbpf-ebpf/src"];

/// Where two lines do it together, both are cited.
const PLACES: usize = 2;

/// No line does these. C11: nothing answers PCP, since ports are opened by the operator alone. B19 and B22 to B24:
/// what a port takes, and how a bridge is set up and shown, is the kernel's and iproute2's.
const NOWHERE: [&str; 5] = ["B19", "B22", "B23", "B24", "C11"];

/// File and line, by row.
type Places = BTreeMap<String, Vec<String>>;

/// The rows that a comment in this line cites.
fn cited(line: &str) -> Vec<&str> {
    let Some((_, comment)) = line.split_once("//") else { return Vec::new() };
    let mut words = comment.split_whitespace().filter(|word| *word != "and").peekable();
    let mut ids = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word.trim_start_matches('('), "Row" | "Rows" | "row" | "rows") {
            ids.extend(std::iter::from_fn(|| words.next_if(|word| is_id(bare(word))).map(bare)));
        }
    }
    ids
}

/// Without the marks behind it.
fn bare(word: &str) -> &str {
    word.trim_end_matches([',', ';', ':', '.', ')'])
}

fn is_id(word: &str) -> bool {
    matches!(word.as_bytes(), [b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9'])
}

/// The lines of a file before its tests.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    let begins =
        |(at, next): (&str, &str)| at == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{');
    let next = text.lines().skip(1).chain([""]);
    text.lines().zip(next).take_while(move |lines| !begins(*lines)).map(|(line, _)| line)
}

/// The files of a folder and of those in it, but for tests.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn places() -> Result<Places> {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut places = Places::new();
    for folder in SOURCES {
        for file in files(&workspace.join(folder))? {
            let text = fs::read_to_string(&file)?;
            let name = file.strip_prefix(workspace)?.display();
            for (number, line) in (1..).zip(without_tests(&text)) {
                for id in cited(line) {
                    places.entry(id.to_owned()).or_default().push(format!("{name}:{number}"));
                }
            }
        }
    }
    Ok(places)
}

#[test]
fn every_row_that_must_hold_has_a_place_in_the_code() -> Result<()> {
    let places = places()?;
    let of = |row: &Row| places.get(row.id).map_or(0, Vec::len);
    let nowhere = |row: &Row| NOWHERE.contains(&row.id);
    let binding: Vec<_> = rows::all().filter(|row| row.level.binds() && row.test_name().is_some()).collect();
    let missing: Vec<_> =
        binding.iter().filter(|row| of(row) == 0 && !nowhere(row)).map(|row| row.id).collect();
    assert!(missing.is_empty(), "no line of the code cites the rows {missing:?}");
    let unknown: Vec<_> = places.iter().filter(|(id, _)| rows::find(id).is_none()).collect();
    assert!(unknown.is_empty(), "there are no such rows: {unknown:?}");
    let crowded: Vec<_> = places.iter().filter(|(_, places)| places.len() > PLACES).collect();
    assert!(crowded.is_empty(), "cited at more than {PLACES} places: {crowded:?}");
    let found: Vec<_> = NOWHERE.iter().filter(|id| places.contains_key(**id)).collect();
    assert!(found.is_empty(), "the rows {found:?} have a place, so take them out of NOWHERE");
    Ok(())
}

#[test]
fn citations_stand_in_comments() {
    assert_eq!(cited("    /// Longest idle time (RFC 4787 REQ-5, row U08)."), ["U08"]);
    assert_eq!(cited("let port = 1; // As it is. Rows U01, U04 and V05."), ["U01", "U04", "V05"]);
    assert_eq!(
        cited("// Row U01. Of REQ-1; row by row, I02 is not meant, rows S01, S25 are."),
        ["U01", "S01", "S25"]
    );
    assert!(cited("let text = \"Row U01\";").is_empty());
    assert!(cited("// The rows of a table; Row 12, Row U1, Row U012.").is_empty());
}

#[test]
fn tests_of_a_file_are_no_place() {
    let lines = |text| without_tests(text).collect::<Vec<_>>();
    assert_eq!(
        lines("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\nc\n}"),
        ["a", "#[cfg(test)]", "mod tests;", "b"]
    );
    assert_eq!(lines("a\n#[cfg(test)]\nmod tests {\nb\n}"), ["a"]);
}
