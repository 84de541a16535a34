//! Whole files, single rules, and random ones.

mod cases;
mod meaning;
mod others;
mod reading;
mod rules;

use super::*;

fn rules(lines: &str) -> Import {
    with_uplinks(lines, &[])
}

fn with_uplinks(lines: &str, uplinks: &[&str]) -> Import {
    let uplinks: Vec<_> = uplinks.iter().map(|name| (*name).to_owned()).collect();
    import(&format!("*nat\n{lines}\nCOMMIT\n"), &uplinks).unwrap()
}

/// Without comments and empty lines.
fn toml(import: &Import) -> String {
    let text = import.toml();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Numbers and reasons.
fn skipped(import: &Import) -> Vec<(usize, &str)> {
    import.skipped.iter().map(|line| (line.number, &*line.why)).collect()
}

/// What was said of a line that was imported.
fn part(import: &Import, number: usize) -> &str {
    import.parts.iter().find(|line| line.number == number).map_or("", |line| &line.why)
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/src/import/fixture/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn of_fixture() -> Import {
    import(&fixture("rules.v4"), &["wan0".to_owned()]).unwrap()
}

#[test]
fn a_file_of_many_shapes() {
    let import = of_fixture();
    assert_eq!(format!("{import}\n"), fixture("report.txt"));
    assert_eq!(import.toml(), fixture("natbpf.toml"));
}

/// As `natbpf check` takes it.
fn checked(import: &Import) -> crate::config::Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, import.toml()).unwrap();
    crate::config::Config::from_file(file.path()).unwrap()
}

#[test]
fn what_is_imported_is_a_configuration() {
    let config = checked(&of_fixture());
    assert_eq!((config.floating.len(), config.forwards.len()), (1, 4), "{}", of_fixture());
    assert!(config.rules.len() > 5);
}

#[test]
fn there_has_to_be_a_nat_table() {
    for text in ["*filter\nCOMMIT\n", "", "\n\n", "hello\n"] {
        assert_eq!(import(text, &[]).unwrap_err(), ImportError::NoTable, "{text}");
    }
    let nothing = rules("");
    assert_eq!((nothing.toml(), skipped(&nothing)), (String::new(), vec![]));
    assert_eq!(nothing.to_string(), "0 rules of the nat table imported, 0 skipped");
}
