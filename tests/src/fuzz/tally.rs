//! What was tried, and what became of it.

use std::collections::BTreeMap;
use std::fmt;

/// Numbers of packets, by what they were and by what became of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub packets: u64,
    pub translated: u64,
    pub untouched: u64,
    pub dropped: u64,
    pub redirected: u64,
    /// By the kind they were built as.
    pub kinds: BTreeMap<&'static str, u64>,
    /// By what was done to them then.
    pub damages: BTreeMap<&'static str, u64>,
    /// By the reason that was counted.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Flows that were begun.
    pub flows: u64,
    /// Configurations that they were sent through.
    pub configurations: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.translated += other.translated;
        self.untouched += other.untouched;
        self.dropped += other.dropped;
        self.redirected += other.redirected;
        self.flows += other.flows;
        self.configurations += other.configurations;
        for (mine, others) in [
            (&mut self.kinds, &other.kinds),
            (&mut self.damages, &other.damages),
            (&mut self.reasons, &other.reasons),
        ] {
            others.iter().for_each(|(name, count)| *mine.entry(name).or_default() += count);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets through {} configurations: {} translated, {} untouched, {} dropped, {} redirected; {} flows",
            self.packets,
            self.configurations,
            self.translated,
            self.untouched,
            self.dropped,
            self.redirected,
            self.flows
        )?;
        for (title, counts) in [
            ("built as", &self.kinds),
            ("then damaged", &self.damages),
            ("dropped, by reason", &self.reasons),
        ] {
            writeln!(f, "{title}")?;
            for (name, count) in counts {
                writeln!(f, "  {name:<44} {count:>11}")?;
            }
        }
        Ok(())
    }
}
