//! The life of a flow: one word, changed only by compare-and-swap, that decides between packets and the
//! reaper.
//!
//! A flow that is expired or killed is not taken out of the table at once. The reaper first marks it; a
//! packet of the instance may still bring it back; only a mark that has stood for [`GRACE`] leads to removal,
//! so no program can still be using the entry then.

use crate::time::{Nanoseconds, Timestamp};

/// How long a mark stands before the entry may go. Longer than any program holds a pointer, and longer than
/// [`RENEWAL`], for which a reply entry trusts its copy.
pub const GRACE: Nanoseconds = Nanoseconds::seconds(2);

/// Packets renew the time stamp of their flow when it is older than this.
pub const RENEWAL: Nanoseconds = Nanoseconds::seconds(1);

const MARKS: u64 = 0b11 << 62;
const DYING: u64 = 0b01 << 62;
const KILLED: u64 = 0b10 << 62;
const GONE: u64 = MARKS;
const BUSY: u64 = MARKS | 1;

/// What the word says. Times are those of the datapath's clock, and have 62 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The flow lives and was last seen at this time (within [`RENEWAL`]).
    Live(Timestamp),
    /// The reaper found it expired at this time. A packet of the original direction starts it anew.
    Dying(Timestamp),
    /// It was ended at this time by the operator or by the loss of its address. A packet of the original direction
    /// gets a new translation.
    Killed(Timestamp),
    /// A program is giving it a new translation just now.
    Busy,
    /// The reaper is removing it just now.
    Gone,
}

impl Life {
    /// Reads [`FlowEntry::life`](super::FlowEntry::life).
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let time = Timestamp::new(word & !MARKS);
        match word & MARKS {
            0 => Self::Live(time),
            DYING => Self::Dying(time),
            KILLED => Self::Killed(time),
            _ if word == BUSY => Self::Busy,
            _ => Self::Gone,
        }
    }

    /// The word for [`FlowEntry::life`](super::FlowEntry::life): the time, and a mark in its highest two bits.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::Live(time) => time.number() & !MARKS,
            Self::Dying(time) => time.number() & !MARKS | DYING,
            Self::Killed(time) => time.number() & !MARKS | KILLED,
            Self::Busy => BUSY,
            Self::Gone => GONE,
        }
    }

    /// The time since the flow was last seen, if it lives. A time stamp ahead of `now` counts as now:
    /// processors need not agree to the nanosecond.
    #[inline(always)]
    pub const fn age(word: u64, now: Timestamp) -> Option<Nanoseconds> {
        if word & MARKS == 0 { Some(now.since(Timestamp::new(word))) } else { None }
    }

    /// Whether the flow lives and was last seen after `now`: its packets are repeated until that time, and it sees none
    /// of them.
    #[inline(always)]
    pub const fn is_ahead(word: u64, now: Timestamp) -> bool {
        word & MARKS == 0 && word > now.number()
    }

    /// The word of a flow that has just been seen, which is never earlier than before.
    #[inline(always)]
    pub const fn renewed(word: u64, now: Timestamp) -> u64 {
        if Self::is_ahead(word, now) { word } else { Self::Live(now).to_word() }
    }

    /// Whether the idle time is over: a second of slack, because the stamp may be older than the last packet
    /// by [`RENEWAL`], keeps every timeout at or above its configured value.
    #[inline(always)]
    pub const fn expired(age: Nanoseconds, timeout: Nanoseconds) -> bool {
        age.number() > timeout.number() + RENEWAL.number()
    }
}

/// What the reaper does with a flow of the original direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Keep,
    /// Swap the word for this one and come back after [`GRACE`].
    Mark(Life),
    /// Swap the word for [`Life::Gone`] and remove the flow.
    Remove,
}

/// The reaper's rule. `idle_limit` is the timeout of the flow's state.
#[inline(always)]
pub const fn judge(life: Life, now: Timestamp, idle_limit: Nanoseconds) -> Verdict {
    match life {
        Life::Live(seen) if Life::expired(now.since(seen), idle_limit) => Verdict::Mark(Life::Dying(now)),
        Life::Dying(since) | Life::Killed(since) if now.since(since).number() >= GRACE.number() => {
            Verdict::Remove
        }
        _ => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::SECOND;

    const fn at(time: u64) -> Timestamp {
        Timestamp::new(time)
    }

    proptest! {
        #[test]
        fn words_and_meanings_agree(time in 0..1u64 << 62) {
            let time = at(time);
            for life in [Life::Live(time), Life::Dying(time), Life::Killed(time), Life::Busy, Life::Gone] {
                prop_assert_eq!(Life::from_word(life.to_word()), life);
            }
        }

        #[test]
        fn only_the_living_have_an_age(time in 0..1u64 << 62, now in 0..1u64 << 62) {
            let (time, now) = (at(time), at(now));
            prop_assert_eq!(Life::age(Life::Live(time).to_word(), now), Some(now.since(time)));
            for life in [Life::Dying(time), Life::Killed(time), Life::Busy, Life::Gone] {
                prop_assert_eq!(Life::age(life.to_word(), now), None);
            }
        }

        #[test]
        fn a_flow_that_is_repeated_is_ahead_and_stays_so(time in 0..1u64 << 61, now in 0..1u64 << 61) {
            let (time, now) = (at(time), at(now));
            let live = Life::Live(time).to_word();
            prop_assert_eq!(Life::is_ahead(live, now), time > now);
            prop_assert_eq!(Life::from_word(Life::renewed(live, now)), Life::Live(time.max(now)));
            for life in [Life::Dying(time), Life::Killed(time), Life::Busy, Life::Gone] {
                prop_assert!(!Life::is_ahead(life.to_word(), now));
            }
        }

        #[test]
        fn no_flow_expires_before_its_timeout(seen in 0..1u64 << 40, stale in 0..RENEWAL.number(), timeout in SECOND.number()..10_000 * SECOND.number()) {
            // The last packet came up to RENEWAL after the stamp.
            let (seen, timeout) = (at(seen), Nanoseconds::new(timeout));
            let last_packet = seen + Nanoseconds::new(stale);
            prop_assert_eq!(judge(Life::Live(seen), last_packet + timeout, timeout), Verdict::Keep);
            let marked = last_packet + timeout + 2 * RENEWAL;
            prop_assert_eq!(judge(Life::Live(seen), marked, timeout), Verdict::Mark(Life::Dying(marked)));
        }
    }

    #[test]
    fn a_mark_stands_for_the_grace_period() {
        for marked in [Life::Dying(at(100)), Life::Killed(at(100))] {
            assert_eq!(judge(marked, at(99) + GRACE, SECOND), Verdict::Keep);
            assert_eq!(judge(marked, at(100) + GRACE, SECOND), Verdict::Remove);
        }
        assert_eq!(judge(Life::Busy, at(u64::MAX >> 2), SECOND), Verdict::Keep);
        assert_eq!(judge(Life::Gone, at(u64::MAX >> 2), SECOND), Verdict::Keep);
    }
}
