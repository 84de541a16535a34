//! What a cause has found, with where that was seen and what mends it.

use std::{collections::BTreeSet, fmt::Display};

use serde::Serialize;

use crate::{
    facts::{Place, Verdict},
    import::line::printable,
};

/// What a cause has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Name of the network namespace; empty: the one that was asked for.
    pub place: String,
    /// What it is about: a device, a network, a rule, a sysctl.
    pub object: String,
    /// What is wrong, and what that does to packets.
    pub sentence: String,
    pub evidence: Vec<Evidence>,
    /// Commands that mend it, as they are typed where natbpf was asked.
    pub mend: Vec<String>,
    /// What the kernel has counted of it since it is up, which may be long ago.
    pub counted: Option<u64>,
}

/// Where it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// A file, a command, a device.
    pub source: String,
    pub value: String,
}

impl Found {
    pub fn new(place: &Place, object: impl Into<String>, sentence: impl Into<String>) -> Self {
        let (object, sentence) = (object.into(), sentence.into());
        Self { place: place.name.clone(), object, sentence, ..Self::default() }
    }

    /// One whose object is a rule.
    pub fn of_rule(place: &Place, rule: &Verdict, sentence: impl Into<String>) -> Self {
        Self::new(place, &rule.text, sentence).seen_rule(rule)
    }

    pub fn seen_rule(self, rule: &Verdict) -> Self {
        self.seen(format!("rules of {}", rule.source.name()), &rule.text)
    }

    pub fn seen(mut self, source: impl Into<String>, value: impl Display) -> Self {
        self.evidence.push(Evidence { source: source.into(), value: value.to_string() });
        self
    }

    pub fn counted(self, count: u64) -> Self {
        Self { counted: Some(count), ..self }
    }

    /// Where it was seen and what mends it, a line each, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let seen = self.evidence.iter().map(|seen| format!("    seen: {}: {}", seen.source, seen.value));
        let lines = seen.chain(self.mend.iter().map(|command| format!("    mend: {command}")));
        // Names and comments are somebody else's.
        lines.map(|line| printable(&line))
    }

    /// A command that is typed in the host's own namespaces.
    pub fn global(self, command: impl AsRef<str>) -> Self {
        self.mend(&Place::default(), command)
    }

    /// A command in a place, whose words are apart by spaces: a name in it is one word, whatever a shell would take it
    /// for.
    pub fn mend(mut self, place: &Place, command: impl AsRef<str>) -> Self {
        self.mend.push(place.typed(command.as_ref()));
        self
    }

    /// Commands in a place that belong together: each is for naught, or worse, without those before it.
    pub fn mend_all(mut self, place: &Place, commands: &[String]) -> Self {
        self.mend.push(place.typed_all(commands));
        self
    }

    /// What a shell has more to do for than to run a command: there is no name of anybody's in it.
    pub fn mend_by_shell(mut self, place: &Place, text: &'static str) -> Self {
        self.mend.push(place.with_prefix(text));
        self
    }
}

/// Each object once, though several instances meet it.
pub fn distinct(found: impl IntoIterator<Item = Found>) -> Vec<Found> {
    let mut once = BTreeSet::new();
    found.into_iter().filter(|found| once.insert((found.place.clone(), found.object.clone()))).collect()
}
