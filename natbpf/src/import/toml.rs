//! Tables of natbpf's configuration as text.

use std::{fmt, net::Ipv4Addr};

use super::{
    line::{Line, push_new},
    matching::{Addresses, Pattern},
};

/// One table, with the lines that it comes from.
#[derive(Clone, Debug)]
pub struct Table {
    name: &'static str,
    lines: Vec<Line>,
    keys: Vec<(&'static str, String)>,
}

impl Table {
    pub fn new<'a>(name: &'static str, lines: impl Iterator<Item = &'a Line>) -> Self {
        Self { name, lines: lines.cloned().collect(), keys: Vec::new() }
    }

    /// Ids of the lines that it comes from.
    pub fn lines(&self) -> impl Iterator<Item = usize> {
        self.lines.iter().map(|line| line.id)
    }

    /// Another line that it comes from.
    pub fn also(&mut self, line: &Line) {
        push_new(&mut self.lines, line.clone());
    }

    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, _)| *name == key)
    }

    pub fn text(&mut self, key: &'static str, value: impl ToString) {
        self.keys.push((key, toml::Value::String(value.to_string()).to_string()));
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
        for line in &self.lines {
            writeln!(f, "# line {}: {}", line.number, line.text)?;
        }
        writeln!(f, "[[{}]]", self.name)?;
        self.keys.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))
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

    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.within.contains(&address) && !self.without.iter().any(|network| network.contains(&address))
    }
}
