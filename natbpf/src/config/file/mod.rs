//! The TOML file: its keys, and the place of every mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use natbpf_common::flow::timeouts::Timeouts;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Config, Problem, check::Place, timeouts};

mod datapath;
mod forward;
mod place;
mod rule;

use datapath::{RawDatapath, RawInterface, datapath, interfaces};
use forward::{RawFloating, RawForward};
use place::{Misplaced, position};
use rule::RawRule;

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
struct RawFile {
    #[serde(default)]
    masquerade: Vec<RawRule>,
    #[serde(default)]
    forward: Vec<RawForward>,
    #[serde(default)]
    floating: Vec<RawFloating>,
    #[serde(default)]
    interface: Vec<RawInterface>,
    #[serde(default)]
    datapath: RawDatapath,
    #[serde(default)]
    timeouts: BTreeMap<Spanned<String>, Spanned<Value>>,
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
    let raw: RawFile = toml::from_str(text).map_err(|error| Misplaced {
        span: error.span().unwrap_or_default(),
        problem: Problem::Syntax(error.message().replace('\n', ", ")),
    })?;
    if raw.masquerade.is_empty() && raw.forward.is_empty() && raw.floating.is_empty() {
        return Err(Misplaced { span: 0..0, problem: Problem::NoRule });
    }
    let config = Config {
        rules: raw.masquerade.iter().map(RawRule::rule).collect::<Result<_, _>>()?,
        forwards: raw.forward.iter().map(RawForward::forward).collect::<Result<_, _>>()?,
        floating: raw.floating.iter().map(RawFloating::floating).collect::<Result<_, _>>()?,
        interfaces: interfaces(&raw.interface)?,
        datapath: datapath(&raw.datapath)?,
        timeouts: timeouts(&raw.timeouts)?,
    };
    match config.check() {
        Ok(()) => Ok(config),
        Err(misfit) => Err(Misplaced { span: raw.span(misfit.place), problem: misfit.problem }),
    }
}

impl RawFile {
    fn span(&self, place: Place) -> Range<usize> {
        match place {
            Place::Out(index) => self.masquerade[index].out.span(),
            Place::Pool(index) => {
                let rule = &self.masquerade[index];
                rule.to.as_ref().map_or(rule.out.span(), Spanned::span)
            }
            Place::ForwardUplink(index) => self.forward[index].uplink.span(),
            Place::ForwardPorts(index) => self.forward[index].port.span(),
            Place::FloatingUplink(index) => self.floating[index].uplink.span(),
            Place::FloatingAddress(index) => self.floating[index].address.span(),
            Place::FloatingTarget(index) => self.floating[index].to.span(),
        }
    }
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
