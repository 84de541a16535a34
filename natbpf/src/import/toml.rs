//! Tables of natbpf's configuration as text.

use std::fmt;

use super::{
    matching::{Addresses, Device, Pattern},
    save::Line,
};

/// One table, with the lines that it comes from.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    lines: Vec<(usize, String)>,
    keys: Vec<(&'static str, String)>,
}

impl Table {
    pub fn new<'a>(name: &'static str, lines: impl Iterator<Item = &'a Line<'a>>) -> Self {
        let lines = lines.map(|line| (line.number, line.text.to_owned())).collect();
        Self { name, lines, keys: Vec::new() }
    }

    /// Numbers of the lines that it comes from.
    pub fn lines(&self) -> impl Iterator<Item = usize> {
        self.lines.iter().map(|(number, _)| *number)
    }

    pub fn text(&mut self, key: &'static str, value: String) {
        self.keys.push((key, toml::Value::String(value).to_string()));
    }

    /// Left out if it is empty.
    pub fn list(&mut self, key: &'static str, values: Vec<String>) {
        if !values.is_empty() {
            self.keys.push((key, toml::Value::from(values).to_string()));
        }
    }

    /// `key = true`
    pub fn flag(&mut self, key: &'static str) {
        self.keys.push((key, true.to_string()));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, text) in &self.lines {
            writeln!(f, "# line {number}: {text}")?;
        }
        writeln!(f, "[[{}]]", self.name)?;
        self.keys.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))
    }
}

impl fmt::Display for Device {
    /// As `out` of a rule has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Is(pattern) => pattern.fmt(f),
            Self::Not(pattern) => write!(f, "!{pattern}"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.wildcard { "*" } else { "" })
    }
}

impl Addresses {
    /// As `source` and `destination` of a rule have them; nothing for all addresses.
    pub fn entries(&self) -> Vec<String> {
        let within = (self.within.prefix_len() > 0).then(|| self.within.to_string());
        let without = self.without.iter().map(|network| format!("!{network}"));
        within.into_iter().chain(without).collect()
    }
}
