//! What was found, for people and as JSON.

use std::{fmt, net::IpAddr};

use natbpf_common::contract::follow::Ends;
use serde::Serialize;

use super::{
    Subject, Verdict,
    conntrack::Entry,
    trace::{Hop, Trace, Way},
};
use crate::{doctor::Told, facts::Host};

/// The outcome of a chase.
#[derive(Debug)]
pub struct Report<'a> {
    pub host: &'a Host,
    pub subject: Subject<'a>,
    pub destination: IpAddr,
    /// `ping`, `TCP port 80`, or what there was.
    pub what: String,
    pub sent: bool,
    pub trace: Trace,
    /// What connection tracking has noted.
    pub entries: Vec<Entry>,
    pub verdict: Verdict,
    /// What could not be looked at.
    pub unseen: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Json<'a> {
    version: u32,
    from: JsonSubject<'a>,
    to: IpAddr,
    probe: &'a str,
    sent: bool,
    there: Vec<JsonHop<'a>>,
    back: Vec<JsonHop<'a>>,
    answered: bool,
    /// `null`: nothing came back.
    milliseconds: Option<f64>,
    conntrack: Vec<JsonEntry<'a>>,
    cause: Option<Told<'a>>,
    notes: &'a [String],
    unseen: &'a [String],
}

#[derive(Debug, Serialize)]
struct JsonSubject<'a> {
    device: &'a str,
    address: IpAddr,
    /// `null`: it is not seen.
    namespace: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct JsonHop<'a> {
    /// `null`: the one that was asked for.
    namespace: Option<String>,
    device: &'a str,
    way: &'a str,
    /// The bridge that it is a port of.
    bridge: Option<&'a str>,
    source: IpAddr,
    destination: IpAddr,
    microseconds: f64,
}

#[derive(Debug, Serialize)]
struct JsonEntry<'a> {
    /// `null`: the one that was asked for.
    namespace: Option<&'a str>,
    original: JsonEnds,
    reply: JsonEnds,
    replied: bool,
    assured: bool,
    /// `null`: it is not TCP.
    state: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct JsonEnds {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
}

impl From<Ends> for JsonEnds {
    fn from(ends: Ends) -> Self {
        Self {
            source: ends.source.into(),
            destination: ends.destination.into(),
            source_port: ends.source_port.number(),
            destination_port: ends.destination_port.number(),
        }
    }
}

impl<'a> From<&'a Entry> for JsonEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            namespace: Some(&*entry.place).filter(|place| !place.is_empty()),
            original: entry.original.into(),
            reply: entry.reply.into(),
            replied: entry.replied,
            assured: entry.assured,
            state: entry.state,
        }
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Report<'_> {
    pub fn json(&self) -> serde_json::Value {
        let hops = |hops: &'_ [Hop]| {
            hops.iter().map(|hop| self.hop(hop)).map(|hop| serde_json::json!(hop)).collect()
        };
        let (there, back): (Vec<serde_json::Value>, Vec<serde_json::Value>) =
            (hops(&self.trace.there), hops(&self.trace.back));
        let mut json = serde_json::json!(Json {
            version: 1,
            from: JsonSubject {
                device: &self.subject.edge.name,
                address: self.subject.address,
                namespace: self.subject.instance.map(|(place, _)| &*place.name),
            },
            to: self.destination,
            probe: &self.what,
            sent: self.sent,
            there: Vec::new(),
            back: Vec::new(),
            answered: self.trace.answered.is_some(),
            milliseconds: self.trace.answered.map(|after| after as f64 / 1e6),
            conntrack: self.entries.iter().map(JsonEntry::from).collect(),
            cause: self.cause(),
            notes: self.notes(),
            unseen: &self.unseen,
        });
        (json["there"], json["back"]) = (there.into(), back.into());
        json
    }

    fn cause(&self) -> Option<Told<'_>> {
        let Verdict::Cause { name, stage, found } = &self.verdict else { return None };
        Some(Told::new(name, None, *stage, found))
    }

    fn notes(&self) -> &[String] {
        if let Verdict::Answered(notes) = &self.verdict { notes } else { &[] }
    }

    fn hop<'a>(&'a self, hop: &'a Hop) -> JsonHop<'a> {
        JsonHop {
            namespace: Some(self.place(hop)).filter(|place| !place.is_empty()),
            device: &hop.name,
            way: hop.way.name(),
            bridge: self.bridge(hop),
            source: hop.source(),
            destination: hop.destination(),
            microseconds: hop.after as f64 / 1e3,
        }
    }

    fn place(&self, hop: &Hop) -> String {
        self.host.at(hop.place).map_or_else(|| "?".to_owned(), |place| place.name.clone())
    }

    fn bridge(&self, hop: &Hop) -> Option<&str> {
        let place = self.host.at(hop.place)?;
        let master = place.device(place.device(hop.device)?.master?)?;
        Some(&master.name)
    }

    fn way(&self, f: &mut fmt::Formatter<'_>, title: &str, hops: &[Hop]) -> fmt::Result {
        if hops.is_empty() {
            return Ok(());
        }
        writeln!(f, "{title}")?;
        let mut before = None;
        for hop in hops {
            let bridge = self.bridge(hop).map(|bridge| format!("port of {bridge}")).unwrap_or_default();
            let ends = (hop.source(), hop.destination());
            let ends = (before.replace(ends) != Some(ends))
                .then(|| format!("{} > {}", hop.source(), hop.destination()));
            let line = format!(
                "  {:>9.1} µs  {:3} {:15} {:10} {:17} {}",
                hop.after as f64 / 1e3,
                hop.way.name(),
                hop.name,
                self.place(hop),
                bridge,
                ends.unwrap_or_default()
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        let behind = subject.instance.map(|(place, _)| format!(" ({})", place.name)).unwrap_or_default();
        let how = if self.sent { "sent as the instance would" } else { "watched" };
        writeln!(
            f,
            "{}{behind} behind {} to {}, {}, {how}",
            subject.address, subject.edge.name, self.destination, self.what
        )?;
        self.way(f, "there", &self.trace.there)?;
        self.way(f, "back", &self.trace.back)?;
        for entry in &self.entries {
            let within = Some(&*entry.place).filter(|place| !place.is_empty());
            let within = within.map(|place| format!(" in {place}")).unwrap_or_default();
            writeln!(f, "conntrack{within}: {entry}")?;
        }
        for what in &self.unseen {
            writeln!(f, "not looked at: {what}")?;
        }
        for note in self.notes() {
            writeln!(f, "note: {note}")?;
        }
        match (&self.verdict, self.trace.answered) {
            (Verdict::Answered(_), after) => {
                write!(
                    f,
                    "it arrives, and is answered after {:.3} ms",
                    after.unwrap_or_default() as f64 / 1e6
                )
            }
            (Verdict::Cause { name, found, .. }, _) => {
                writeln!(f, "cause [{name}]: {}", found.sentence)?;
                f.write_str(&found.lines().collect::<Vec<_>>().join("\n"))
            }
        }
    }
}
