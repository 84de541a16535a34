//! What has become of a packet, in words.

use std::fmt;

use natbpf_common::contract::{
    counter::{Counter, DropReason, Kind},
    trace::{REPLAYED, Sight},
};

/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT` (linux/pkt_cls.h)
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// `XDP_DROP`, before which is `XDP_ABORTED`, and `XDP_TX`, behind which is `XDP_REDIRECT` (linux/bpf.h)
const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;

/// What a program has done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it came.
    Passed,
    /// It goes on, translated.
    Translated,
    /// It was done to it what the host did to those before it, and it goes straight where those went.
    Repeated,
    /// It goes to another device.
    Redirected,
    /// It is gone, for this reason; `None`: nothing was counted.
    Dropped(Option<DropReason>),
    /// It waits for the first fragment of its datagram.
    Kept,
    /// Copies of it and of fragments that came before it go on in its place.
    Replayed,
}

impl Verdict {
    pub fn of(sight: &Sight, xdp: bool) -> Self {
        let (drop, redirect) = if xdp {
            (sight.verdict <= XDP_DROP, sight.verdict >= XDP_TX)
        } else {
            (sight.verdict == SHOT, sight.verdict == REDIRECT)
        };
        let has = |counter: Counter| sight.counted & 1 << counter as u32 != 0;
        if sight.verdict == REPLAYED {
            return Self::Replayed;
        }
        let reason = DropReason::ALL.iter().copied().find(|reason| has(reason.counter()));
        match reason {
            Some(DropReason::FragmentKept) if drop => Self::Kept,
            Some(reason) if drop => Self::Dropped(Some(reason)),
            None if drop => Self::Dropped(None),
            _ if redirect && has(Counter::PacketsRepeated) => Self::Repeated,
            _ if redirect => Self::Redirected,
            _ if has(Counter::EgressPackets) || has(Counter::IngressPackets) => Self::Translated,
            _ => Self::Passed,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Translated => "translated",
            Self::Repeated => "repeated",
            Self::Redirected => "redirected",
            Self::Dropped(_) => "dropped",
            Self::Kept => "kept",
            Self::Replayed => "replayed",
        }
    }

    pub fn reason(self) -> Option<Counter> {
        if let Self::Dropped(reason) = self { reason.map(DropReason::counter) } else { None }
    }

    /// Whether it goes to another device than it would have.
    pub const fn is_redirected(self) -> bool {
        matches!(self, Self::Repeated | Self::Redirected)
    }
}

/// Without the device.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed, unchanged by natbpf"),
            Self::Translated => f.write_str("translated, and passed"),
            Self::Repeated => f.write_str("repeated"),
            Self::Redirected => f.write_str("redirected"),
            Self::Dropped(None) => f.write_str("dropped"),
            Self::Dropped(Some(reason)) => {
                let counter = reason.counter();
                write!(f, "dropped, {}: {}", counter.name(), counter.help().trim_start())
            }
            Self::Kept => f.write_str("kept until the first fragment of its datagram comes"),
            Self::Replayed => f.write_str("replayed: copies of it and of the fragments before it go on"),
        }
    }
}

/// What the program has counted up besides, by the names of the counters, without bytes.
pub fn counted(sight: &Sight) -> impl Iterator<Item = Counter> {
    let (all, counted) = (Counter::ALL.iter().copied(), sight.counted);
    all.filter(move |counter| counted & 1 << *counter as u32 != 0)
        .filter(|counter| counter.kind() != Kind::Traffic || !counter.name().ends_with("_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(number: i32, counters: &[Counter], xdp: bool) -> Verdict {
        let counted = counters.iter().fold(0, |bits, counter| bits | 1 << *counter as u32);
        Verdict::of(&Sight { verdict: number, counted, ..Sight::default() }, xdp)
    }

    #[test]
    fn verdicts_of_both_kinds_of_programs_are_told_apart() {
        use Counter::{EgressPackets, FragmentKept, PacketsRepeated, TableFull};
        assert_eq!(verdict(-1, &[], false), Verdict::Passed);
        assert_eq!(verdict(-1, &[EgressPackets], false), Verdict::Translated);
        assert_eq!(verdict(SHOT, &[TableFull], false), Verdict::Dropped(Some(DropReason::TableFull)));
        assert_eq!(verdict(SHOT, &[FragmentKept], false), Verdict::Kept);
        assert_eq!(verdict(REPLAYED, &[], false), Verdict::Replayed);
        assert_eq!(verdict(SHOT, &[], false), Verdict::Dropped(None));
        assert_eq!(verdict(REDIRECT, &[PacketsRepeated], false), Verdict::Repeated);
        assert_eq!(verdict(REDIRECT, &[], false), Verdict::Redirected);
        assert_eq!(verdict(2, &[], true), Verdict::Passed);
        assert_eq!(verdict(XDP_DROP, &[], true), Verdict::Dropped(None));
        assert_eq!(verdict(4, &[PacketsRepeated], true), Verdict::Repeated);
    }

    #[test]
    fn a_drop_says_why() {
        let said = verdict(SHOT, &[Counter::NoPort], false).to_string();
        assert_eq!(said, "dropped, no_port: No external port is free.");
    }

    #[test]
    fn there_is_a_bit_for_each_counter() {
        const { assert!(Counter::COUNT <= 64) }
    }
}
