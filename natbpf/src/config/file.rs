//! The TOML file: its keys, and the place of every mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use natbpf_common::flow::timeouts::Timeouts;
use serde::Deserialize;
use toml::{
    Deserializer, Spanned, Value,
    de::{DeTable, DeValue},
};

use super::{
    Config, DatapathConfig, HookMode, Problem,
    keys::{AccelerateKeys, DatapathKeys, FloatingKeys, ForwardKeys, InterfaceKeys, RuleKeys, Wrong},
    timeouts,
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read the configuration {path}: {error}; name another file with -c, or see `natbpf run --help`",
        path = path.display()
    )]
    Read { path: PathBuf, error: io::Error },
    /// Line and column count from 1; the column counts characters.
    #[error("{path}:{line}:{column}: {problem}", path = path.display())]
    Wrong { path: PathBuf, line: usize, column: usize, problem: Problem },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    masquerade: Vec<RuleKeys>,
    #[serde(default)]
    forward: Vec<ForwardKeys>,
    #[serde(default)]
    floating: Vec<FloatingKeys>,
    #[serde(default)]
    accelerate: Vec<AccelerateKeys>,
    #[serde(default)]
    interface: Vec<InterfaceKeys>,
    #[serde(default)]
    datapath: DatapathKeys,
    #[serde(default)]
    timeouts: BTreeMap<Spanned<String>, Spanned<Value>>,
}

/// A problem and the bytes of the file that it is about.
struct Misplaced {
    span: Range<usize>,
    problem: Problem,
}

impl Config {
    /// Reads and checks a TOML file. The error names file, line and column.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        parse(&text).map_err(|Misplaced { span, problem }| {
            let (line, column) = position(&text, span.start);
            ConfigError::Wrong { path: path.to_owned(), line, column, problem }
        })
    }
}

fn parse(text: &str) -> Result<Config, Misplaced> {
    let syntax = |error: toml::de::Error| Misplaced {
        span: error.span().unwrap_or_default(),
        problem: Problem::Syntax(error.message().replace('\n', ", ")),
    };
    let document = DeTable::parse(text).map_err(syntax)?;
    let file = File::deserialize(Deserializer::from(document.clone())).map_err(syntax)?;
    let nothing = file.masquerade.is_empty() && file.forward.is_empty() && file.floating.is_empty();
    if nothing && file.accelerate.is_empty() {
        return Err(Misplaced { span: 0..0, problem: Problem::NoRule });
    }
    let misplaced = |wrong: Wrong| Misplaced {
        span: span(document.get_ref(), &wrong).unwrap_or_default(),
        problem: *wrong.problem,
    };
    let rule = |index, keys: &RuleKeys| {
        keys.check_exempt(|key| find(document.get_ref(), ("masquerade", index), key).is_some())?;
        keys.rule()
    };
    let datapath = |_, keys: &DatapathKeys| DatapathConfig::default().with(keys);
    let config = Config {
        rules: each("masquerade", &file.masquerade, rule).map_err(misplaced)?,
        forwards: each("forward", &file.forward, |_, keys| keys.forward()).map_err(misplaced)?,
        floating: each("floating", &file.floating, |_, keys| keys.floating()).map_err(misplaced)?,
        accelerate: each("accelerate", &file.accelerate, |_, keys| keys.edges()).map_err(misplaced)?,
        interfaces: interfaces(&file.interface).map_err(misplaced)?,
        datapath: each("datapath", &[file.datapath], datapath).map_err(misplaced)?[0],
        timeouts: timeouts(&file.timeouts)?,
    };
    config.check().map_err(misplaced)?;
    Ok(config)
}

/// What the tables of one name mean.
fn each<K, T>(
    name: &'static str,
    tables: &[K],
    mut meaning: impl FnMut(usize, &K) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let place = |index, wrong| Wrong { table: (name, index), ..wrong };
    let tables = tables.iter().enumerate();
    tables.map(|(index, keys)| meaning(index, keys).map_err(|wrong| place(index, wrong))).collect()
}

/// By name; none twice.
fn interfaces(tables: &[InterfaceKeys]) -> Result<BTreeMap<String, HookMode>, Wrong> {
    let mut interfaces = BTreeMap::new();
    each("interface", tables, |_, keys| {
        let name = keys.name.of("name")?;
        match interfaces.insert(name.clone(), keys.hook) {
            Some(_) => Err(Wrong::at("name")(Problem::InterfaceTwice(name))),
            None => Ok(()),
        }
    })?;
    Ok(interfaces)
}

/// The value of a key. There may be one table of the name, or a list of them.
fn find<'a>(
    document: &'a DeTable<'_>,
    (table, index): (&str, usize),
    key: &str,
) -> Option<&'a Spanned<DeValue<'a>>> {
    let tables = document.get(table)?.get_ref();
    tables.get(index).map_or(tables, Spanned::get_ref).get(key)
}

fn span(document: &DeTable<'_>, wrong: &Wrong) -> Option<Range<usize>> {
    let value = find(document, wrong.table, wrong.key)?;
    let item = wrong.item.and_then(|item| value.get_ref().get(item));
    Some(item.unwrap_or(value).span())
}

/// Line and column of a byte of a text, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn timeouts(raw: &BTreeMap<Spanned<String>, Spanned<Value>>) -> Result<Timeouts, Misplaced> {
    let mut timeouts = Timeouts::default();
    for (key, value) in raw {
        let (state, length) = timeouts::parse(key.get_ref(), value.get_ref().as_str()).map_err(|error| {
            let span = match error {
                timeouts::TimeoutError::Unknown { .. } => key.span(),
                _ => value.span(),
            };
            Misplaced { span, problem: error.into() }
        })?;
        timeouts.set(state, length);
    }
    Ok(timeouts)
}
