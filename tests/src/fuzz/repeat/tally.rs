//! What was tried, and what was repeated.

use std::collections::BTreeMap;
use std::fmt;

/// What has to be repeated some time, or the run shows nothing.
const KINDS: &[&str] = &[
    "TCP over IPv4",
    "TCP over IPv6",
    "UDP over IPv4",
    "UDP over IPv6",
    "ICMP over IPv4",
    "ICMP over IPv6",
    "another protocol over IPv4",
    "another protocol over IPv6",
    "at TC",
    "at XDP",
    "bridged",
    "routed",
    "translated",
    "ports translated",
    "addresses of a protocol without ports translated",
    "a tag put on at TC",
    "a tag put on at XDP",
    "a tag taken off at TC",
    "a tag taken off at XDP",
    "a tag changed at TC",
    "a tag changed at XDP",
    "with a mark or a priority",
    "UDP without a checksum translated",
    "a wrong checksum translated",
    "several segments",
    "filled up",
    "after the host has changed its mind",
];

/// Numbers of packets.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub packets: u64,
    pub repeated: u64,
    /// A path was known, and the table had it no more.
    pub missed: u64,
    pub configurations: u64,
    /// Repeated, by what they were; each is of several kinds.
    pub kinds: BTreeMap<&'static str, u64>,
    /// By what was special about them where they came in.
    pub specials: BTreeMap<&'static str, u64>,
    /// By what became of those that were not repeated.
    pub fates: BTreeMap<&'static str, u64>,
    /// By what the datapath counted.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.repeated += other.repeated;
        self.missed += other.missed;
        self.configurations += other.configurations;
        for (mine, others) in [
            (&mut self.kinds, &other.kinds),
            (&mut self.specials, &other.specials),
            (&mut self.fates, &other.fates),
            (&mut self.counters, &other.counters),
        ] {
            others.iter().for_each(|(name, count)| *mine.entry(name).or_default() += count);
        }
    }

    /// What was never repeated and should have been.
    pub fn never(&self) -> Vec<&'static str> {
        KINDS.iter().copied().filter(|kind| !self.kinds.contains_key(kind)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets through {} hosts: {} repeated, byte for byte as the host would have sent them; {} paths missed",
            self.packets, self.configurations, self.repeated, self.missed
        )?;
        for (title, counts) in [
            ("repeated", &self.kinds),
            ("came in", &self.specials),
            ("not repeated, but", &self.fates),
            ("counted", &self.counters),
        ] {
            writeln!(f, "{title}")?;
            for (name, count) in counts {
                writeln!(f, "  {name:<52} {count:>11}")?;
            }
        }
        Ok(())
    }
}
