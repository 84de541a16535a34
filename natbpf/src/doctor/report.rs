//! What was found, for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::{Finding, Severity, Told};
use crate::import::line::printable;

/// The outcome of a look at a host.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unseen: Vec<String>,
    /// How many network namespaces were looked at.
    pub places: usize,
}

/// Of the look as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Healthy,
    Found,
    /// Nothing was found, but not all was seen.
    Unseen,
}

impl Report {
    /// Of what could not be looked at.
    pub fn unseen(what: String) -> Self {
        Self { findings: Vec::new(), unseen: vec![what], places: 0 }
    }

    pub fn outcome(&self) -> Outcome {
        if self.findings.iter().any(|finding| finding.cause.severity <= Severity::Warning) {
            Outcome::Found
        } else if self.unseen.is_empty() {
            Outcome::Healthy
        } else {
            Outcome::Unseen
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(Json::from(self))
    }
}

/// The report as programs read it.
#[derive(Debug, Serialize)]
struct Json<'a> {
    version: u32,
    namespaces: usize,
    findings: Vec<Told<'a>>,
    unseen: &'a [String],
}

impl<'a> From<&'a Report> for Json<'a> {
    fn from(report: &'a Report) -> Self {
        let told = |Finding { cause, found }: &'a Finding| {
            Told::new(cause.name, Some(cause.severity), cause.stage, found)
        };
        Self {
            version: 1,
            namespaces: report.places,
            findings: report.findings.iter().map(told).collect(),
            unseen: &report.unseen,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { cause, found } in &self.findings {
            writeln!(f, "{} [{}]: {}", cause.severity.name(), cause.name, printable(&found.sentence))?;
            found.lines().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        for what in &self.unseen {
            writeln!(f, "not looked at: {}", printable(what))?;
        }
        let namespaces = if self.places == 1 { "network namespace" } else { "network namespaces" };
        let found = match self.outcome() {
            Outcome::Found => "what stands first is met first",
            Outcome::Healthy => "no cause was found",
            Outcome::Unseen => "no cause was found in what could be looked at",
        };
        write!(f, "{} {namespaces}: {found}", self.places)
    }
}
