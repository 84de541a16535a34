//! What a run has found of a host, for people.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use comfy_table::{Table, presets};

use super::host::Host;
use super::passed;
use super::rules;
use super::{alarms, followed};
use crate::gateway::natbpf::Natbpf;
use crate::process::interrupt;

/// Of packets in masses, at least.
const REPEATED: f64 = 0.99;

/// When checks were made.
const TIMES: [&str; 4] = ["before", "with natbpf", "at its end", "after"];

#[derive(Debug, Default)]
pub struct Report {
    title: &'static str,
    /// natbpf's line that says what it repeats.
    pub ready: String,
    /// Each with the complaint at each time, if there was one.
    checks: Vec<(String, Vec<Option<String>>)>,
    /// What should work before natbpf comes, and does not: of that nothing is known.
    broken: Vec<String>,
    pub repeated: Vec<Repeated>,
    /// What happened while packets passed, and what went wrong then.
    pub events: Vec<(&'static str, Option<String>)>,
    /// The same without natbpf on a new host, tried where something went wrong.
    pub events_without: Vec<(&'static str, Option<String>)>,
    measured: Vec<Measured>,
    /// When rules had changed, and what of them.
    changes: Vec<(&'static str, Vec<String>)>,
    pub left_behind: Vec<String>,
    /// When `natbpf doctor` gave a false alarm, and which.
    pub alarms: Vec<(&'static str, String)>,
    /// The host's devices on each way, without natbpf and with it.
    devices: Vec<(&'static str, Vec<String>)>,
    /// What the platform's daemons complained of while natbpf was there.
    pub complaints: BTreeSet<String>,
    /// The same without natbpf on a new host.
    pub complaints_without: BTreeSet<String>,
}

#[derive(Debug)]
struct Measured {
    what: &'static str,
    when: &'static str,
    /// What came of it, or went wrong.
    taken: Result<String, String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, when, taken } = self;
        match taken {
            Ok(said) => write!(f, "{what}, {when}: {said}"),
            Err(error) => write!(f, "{what}, {when}: NO: {error}"),
        }
    }
}

/// How much was repeated of a stream.
#[derive(Debug)]
pub struct Repeated {
    pub what: String,
    pub share: f64,
    /// Nothing may be.
    pub left: Option<Left>,
}

/// What all packets have to go by.
#[derive(Debug)]
pub struct Left {
    pub device: &'static str,
    /// What `natbpf status` says of it.
    pub reason: Option<String>,
}

impl Repeated {
    fn is_well(&self) -> bool {
        self.left.as_ref().map_or(self.share >= REPEATED, |left| self.share == 0.0 && left.reason.is_some())
    }
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.2} % of packets repeated", self.what, self.share * 100.0)?;
        let Some(Left { device, reason }) = &self.left else { return Ok(()) };
        let reason = reason.as_deref().unwrap_or("`natbpf status` does not say why");
        write!(f, ", none may be; {device}: {reason}")
    }
}

impl Report {
    pub fn new(title: &'static str) -> Self {
        Self { title, ..Self::default() }
    }

    /// Makes the checks of a host once more.
    pub fn checks(&mut self, host: &dyn Host) -> Result<()> {
        for (place, check) in host.checks().into_iter().enumerate() {
            interrupt::check()?;
            if self.checks.len() <= place {
                self.checks.push((check.what.clone(), Vec::new()));
            }
            let complaint = check.complaint();
            if self.checks[place].1.is_empty() && complaint.is_some() && !check.may_fail {
                self.broken.push(check.what);
            }
            self.checks[place].1.push(complaint);
        }
        Ok(())
    }

    /// Looks once more which devices packets pass.
    pub fn devices(&mut self, host: &dyn Host) -> Result<()> {
        for stream in host.streams() {
            // What does not get through is a check's to say.
            let devices = passed::devices(host, &stream).unwrap_or_else(|error| Some(format!("{error:#}")));
            let Some(devices) = devices else { continue };
            match self.devices.iter_mut().find(|(name, _)| *name == stream.name) {
                Some((_, times)) => times.push(devices),
                None => self.devices.push((stream.name, vec![devices])),
            }
        }
        Ok(())
    }

    /// Takes the measurements of a host.
    pub fn measure(&mut self, when: &'static str, host: &dyn Host, natbpf: &[Natbpf]) -> Result<()> {
        for measurement in host.measurements() {
            interrupt::check()?;
            eprintln!("hosts: {}: {}, {when}", self.title, measurement.what);
            let taken = (measurement.take)(natbpf).map_err(|error| format!("{error:#}"));
            self.measured.push(Measured { what: measurement.what, when, taken });
        }
        Ok(())
    }

    /// Asks `natbpf doctor`, who should find nothing, and `natbpf why`, who should see packets arrive.
    pub fn doctor(&mut self, when: &'static str, host: &dyn Host) -> Result<()> {
        let alarms = alarms::of(host)?.into_iter().chain(followed::complaints(host)?);
        self.alarms.extend(alarms.map(|alarm| (when, alarm)));
        Ok(())
    }

    /// Compares rules.
    pub fn changed(&mut self, when: &'static str, before: &str, after: &str) {
        self.changes.push((when, rules::differences(before, after)));
    }

    /// Whether something goes wrong without natbpf, too.
    fn fails_anyway(&self, what: &str) -> bool {
        self.events_without.iter().any(|(event, complaint)| *event == what && complaint.is_some())
    }

    pub fn is_well(&self) -> bool {
        !self.checks.iter().any(|(_, complaints)| is_worse(complaints))
            && self.events.iter().all(|(what, complaint)| complaint.is_none() || self.fails_anyway(what))
            && self.repeated.iter().all(Repeated::is_well)
            && self.measured.iter().all(|measured| measured.taken.is_ok())
            && self.changes.iter().all(|(_, lines)| lines.is_empty())
            && self.left_behind.is_empty()
            && self.alarms.is_empty()
            && self.complaints.is_subset(&self.complaints_without)
            && self.broken.is_empty()
    }
}

/// Whether something is worse later than it was at first.
fn is_worse(complaints: &[Option<String>]) -> bool {
    matches!(complaints, [None, later @ ..] if later.iter().any(Option::is_some))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\nnatbpf accelerate: {}\n", self.title, self.ready)?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([""].into_iter().chain(TIMES));
        for (what, complaints) in &self.checks {
            let answer =
                |complaint: &Option<String>| if complaint.is_none() { "ok" } else { "no" }.to_owned();
            table.add_row([what.clone()].into_iter().chain(complaints.iter().map(answer)));
        }
        writeln!(f, "{table}\n")?;
        for (what, complaints) in &self.checks {
            let times = TIMES.iter().zip(complaints);
            let mut said = times.filter_map(|(when, complaint)| Some((when, complaint.as_ref()?)));
            said.try_for_each(|(when, complaint)| writeln!(f, "- {what}, {when}: {complaint}"))?;
        }
        self.repeated.iter().try_for_each(|stream| writeln!(f, "- {stream}"))?;
        for (what, times) in &self.devices {
            writeln!(f, "- {what}, the host's devices: {}", times.join("; with natbpf "))?;
        }
        for (what, complaint) in &self.events {
            let also = if self.fails_anyway(what) { "without natbpf, too: " } else { "" };
            writeln!(f, "- {what}: {also}{}", complaint.as_deref().unwrap_or("packets went on"))?;
        }
        for complaint in &self.complaints {
            let also = if self.complaints_without.contains(complaint) { "without natbpf, too: " } else { "" };
            writeln!(f, "- a daemon complained: {also}{complaint}")?;
        }
        self.measured.iter().try_for_each(|measured| writeln!(f, "- {measured}"))?;
        for (when, lines) in &self.changes {
            let said = if lines.is_empty() { "the same".to_owned() } else { lines.join("\n    ") };
            writeln!(f, "- rules of the platform {when}: {said}")?;
        }
        for (when, alarm) in &self.alarms {
            writeln!(f, "- natbpf, {when}: {alarm}")?;
        }
        self.broken.iter().try_for_each(|what| writeln!(f, "- does not work without natbpf: {what}"))?;
        self.left_behind.iter().try_for_each(|line| writeln!(f, "- left behind: {line}"))?;
        writeln!(f, "- {}", if self.is_well() { "all is well" } else { "NOT well" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(complaints: [Option<&str>; 3]) -> Report {
        let complaints = complaints.map(|complaint| complaint.map(str::to_owned)).to_vec();
        Report { title: "host", checks: vec![("it pings".to_owned(), complaints)], ..Report::default() }
    }

    #[test]
    fn what_failed_before_is_not_worse_later() {
        assert!(report([None, None, None]).is_well());
        assert!(report([Some("no"), Some("no"), None]).is_well());
        assert!(!report([None, Some("no"), None]).is_well());
        assert!(report([None, Some("0 of 4"), None]).to_string().contains("it pings, with natbpf: 0 of 4"));
    }

    #[test]
    fn few_repeated_packets_or_another_rule_are_not_well() {
        let repeated = |share, left| Repeated { what: "out".to_owned(), share, left };
        let of = |repeated| Report { repeated: vec![repeated], ..report([None; 3]) };
        assert!(!of(repeated(0.98, None)).is_well());
        assert!(of(repeated(0.99, None)).is_well());
        let left = |reason: Option<&str>| Some(Left { device: "wan", reason: reason.map(str::to_owned) });
        assert!(of(repeated(0.0, left(Some("a queue")))).is_well());
        assert!(!of(repeated(0.0, left(None))).is_well());
        assert!(!of(repeated(0.01, left(Some("a queue")))).is_well());
        let mut changed = report([None; 3]);
        changed.changed("with natbpf", "a\n", "b\n");
        assert!(!changed.is_well());
        assert!(changed.to_string().contains("- a\n    + b"));
        let measured = |taken| {
            let measured = vec![Measured { what: "it moves", when: "with natbpf", taken }];
            Report { measured, ..report([None; 3]) }
        };
        assert!(measured(Ok("0.3 s".to_owned())).is_well());
        assert!(!measured(Err("silent".to_owned())).is_well());
        assert!(measured(Err("silent".to_owned())).to_string().contains("it moves, with natbpf: NO: silent"));
        let mut broken = report([None; 3]);
        broken.events = vec![("it restarts", Some("reset".to_owned()))];
        assert!(!broken.is_well());
        broken.events_without = broken.events.clone();
        assert!(broken.is_well());
        assert!(broken.to_string().contains("it restarts: without natbpf, too: reset"));
        let complaints: BTreeSet<_> = ["ERROR no port".to_owned()].into();
        let mut heard = Report { complaints: complaints.clone(), ..report([None; 3]) };
        assert!(!heard.is_well());
        heard.complaints_without = complaints;
        assert!(heard.is_well());
    }
}
