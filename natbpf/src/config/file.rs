//! The TOML file: its keys, and the place of every mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use ipnet::Ipv4Net;
use natbpf_common::state::Timeouts;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{
    AttachMode, Config, DatapathConfig, Mapping, MasqueradeRule, Ports,
    check::{self, Problem},
    timeouts, values,
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
struct RawFile {
    #[serde(default)]
    masquerade: Vec<RawRule>,
    #[serde(default)]
    datapath: RawDatapath,
    #[serde(default)]
    timeouts: BTreeMap<Spanned<String>, Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    out: Spanned<String>,
    source: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    except: Vec<Spanned<String>>,
    #[serde(default)]
    mapping: Mapping,
    to_ports: Option<Spanned<String>>,
    #[serde(default)]
    random: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatapath {
    max_flows: Option<Spanned<u32>>,
    #[serde(default)]
    attach: AttachMode,
    #[serde(default)]
    coexist: bool,
}

/// A problem and the bytes of the file that it is about.
struct Misplaced {
    span: Range<usize>,
    problem: Problem,
}

pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
    parse(&text).map_err(|Misplaced { span, problem }| {
        let (line, column) = position(&text, span.start);
        ConfigError::Wrong { path: path.to_owned(), line, column, problem }
    })
}

fn parse(text: &str) -> Result<Config, Misplaced> {
    let raw: RawFile = toml::from_str(text).map_err(|error| Misplaced {
        span: error.span().unwrap_or_default(),
        problem: Problem::Syntax(error.message().replace('\n', ", ")),
    })?;
    if raw.masquerade.is_empty() {
        return Err(Misplaced { span: 0..0, problem: Problem::NoRule });
    }
    let rules = raw.masquerade.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    check::check(&rules).map_err(|misfit| {
        let raw = &raw.masquerade[misfit.rule];
        let source = misfit.source.and_then(|place| raw.source.as_ref()?.get_ref().get(place));
        Misplaced { span: source.unwrap_or(&raw.out).span(), problem: misfit.problem }
    })?;
    Ok(Config { rules, datapath: datapath(&raw.datapath)?, timeouts: timeouts(&raw.timeouts)? })
}

fn rule(raw: &RawRule) -> Result<MasqueradeRule, Misplaced> {
    let sources = match &raw.source {
        None => vec![Ipv4Net::default()],
        Some(list) if list.get_ref().is_empty() => {
            return Err(Misplaced { span: list.span(), problem: Problem::NoSource });
        }
        Some(list) => networks(list.get_ref())?,
    };
    Ok(MasqueradeRule {
        out: value(&raw.out, values::interface)?,
        sources,
        except: networks(&raw.except)?,
        mapping: raw.mapping,
        to_ports: raw.to_ports.as_ref().map(|text| value(text, str::parse::<Ports>)).transpose()?,
        random: raw.random,
    })
}

fn networks(raw: &[Spanned<String>]) -> Result<Vec<Ipv4Net>, Misplaced> {
    raw.iter().map(|text| value(text, values::network)).collect()
}

fn value<T>(
    raw: &Spanned<String>,
    parse: impl Fn(&str) -> Result<T, values::ValueError>,
) -> Result<T, Misplaced> {
    parse(raw.get_ref()).map_err(|error| Misplaced { span: raw.span(), problem: error.into() })
}

fn datapath(raw: &RawDatapath) -> Result<DatapathConfig, Misplaced> {
    let max_flows = match &raw.max_flows {
        None => DatapathConfig::default().max_flows,
        Some(number)
            if (DatapathConfig::MIN_FLOWS..=DatapathConfig::MAX_FLOWS).contains(number.get_ref()) =>
        {
            *number.get_ref()
        }
        Some(number) => {
            return Err(Misplaced { span: number.span(), problem: Problem::MaxFlows(*number.get_ref()) });
        }
    };
    Ok(DatapathConfig { max_flows, attach: raw.attach, coexist: raw.coexist })
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

/// Line and column of a byte of a text, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
