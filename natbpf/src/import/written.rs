//! Rules of POSTROUTING as they are written.

use super::{
    flatten::Item,
    line::Line,
    matching::{Addresses, Match, Pattern},
    target::SourceNat,
    toml::Table,
};

/// A rule as it is written: for one uplink, or those that a pattern is for.
#[derive(Clone, Debug)]
pub struct Written {
    pub line: Line,
    joined: Vec<Line>,
    /// `None`: exempt.
    pub nat: Option<SourceNat>,
    /// With nothing but an output, a source and a destination.
    pub piece: Match,
}

impl Written {
    pub fn new(item: &Item, nat: Option<&SourceNat>, piece: Match) -> Self {
        Self { line: item.line.clone(), joined: item.joined.clone(), nat: nat.cloned(), piece }
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new("masquerade", self.joined.iter().chain([&self.line]));
        table.text("out", self.piece.output.is.as_ref().map_or("*".to_owned(), Pattern::to_string));
        table.list("source", self.piece.source.entries());
        table.list("destination", self.piece.destination.entries());
        match &self.nat {
            Some(nat) => {
                table.list("to", nat.range().into_iter().collect());
                if let Some((first, last)) = nat.ports {
                    table.text("to_ports", format!("{first}-{last}"));
                }
                if nat.random {
                    table.flag("random");
                }
            }
            None => table.text("action", "exempt"),
        }
        table
    }
}

/// All sources that rules masquerade by an uplink, without those that are in others.
pub fn sources(written: &[Written], uplink: &str) -> Vec<Addresses> {
    let by = |rule: &&Written| rule.nat.is_some() && rule.piece.output.includes(uplink);
    let mut sources: Vec<Addresses> = Vec::new();
    for source in written.iter().filter(by).map(|rule| &rule.piece.source) {
        if !sources.iter().any(|other| other.covers(source)) {
            sources.retain(|other| !source.covers(other));
            sources.push(source.clone());
        }
    }
    sources
}
