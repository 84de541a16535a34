//! The TOML file: its keys, and the place of every mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use ipnet::Ipv4Net;
use natbpf_common::flow::timeouts::Timeouts;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{
    AttachMode, Config, DatapathConfig, HookMode, Switch,
    check::{self, Place, Problem},
    timeouts, values,
};

mod forward;
mod rule;

use forward::{RawFloating, RawForward};
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

/// A text and where it stands.
type Text = Spanned<String>;

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterface {
    name: Text,
    hook: HookMode,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatapath {
    max_flows: Option<Spanned<u32>>,
    #[serde(default)]
    attach: AttachMode,
    #[serde(default)]
    hook: HookMode,
    #[serde(default)]
    coexist: bool,
    offload: Option<Switch>,
    revalidate: Option<Text>,
    conntrack_liberal: Option<bool>,
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
    match check::check(&config) {
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

fn networks(raw: &[Text]) -> Result<Vec<Ipv4Net>, Misplaced> {
    list(raw, values::network)
}

fn list<T>(raw: &[Text], parse: impl Fn(&str) -> Result<T, values::ValueError>) -> Result<Vec<T>, Misplaced> {
    raw.iter().map(|text| value(text, &parse)).collect()
}

fn value<T>(raw: &Text, parse: impl FnOnce(&str) -> Result<T, values::ValueError>) -> Result<T, Misplaced> {
    parse(raw.get_ref()).map_err(|error| Misplaced { span: raw.span(), problem: error.into() })
}

fn interfaces(raw: &[RawInterface]) -> Result<BTreeMap<String, HookMode>, Misplaced> {
    let mut interfaces = BTreeMap::new();
    for interface in raw {
        let name = value(&interface.name, values::interface)?;
        if interfaces.insert(name.clone(), interface.hook).is_some() {
            return Err(Misplaced { span: interface.name.span(), problem: Problem::InterfaceTwice(name) });
        }
    }
    Ok(interfaces)
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
    let default = DatapathConfig::default();
    Ok(DatapathConfig {
        max_flows,
        attach: raw.attach,
        hook: raw.hook,
        coexist: raw.coexist,
        offload: raw.offload,
        revalidate: raw
            .revalidate
            .as_ref()
            .map_or(Ok(default.revalidate), |text| value(text, values::revalidate))?,
        conntrack_liberal: raw.conntrack_liberal.unwrap_or(default.conntrack_liberal),
    })
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
