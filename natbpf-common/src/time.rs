//! Time, as the datapath's clocks have it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds of the monotonic clock, as of `bpf_ktime_get_coarse_ns` and `CLOCK_MONOTONIC_COARSE`.
pub type Nanoseconds = u64;

/// Nanoseconds in a second.
pub const SECOND: Nanoseconds = 1_000_000_000;

/// A point in time, coarse and short: the monotonic clock in units of 2^26 nanoseconds, 67 milliseconds.
/// Wraps after nine years.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Moment(u32);

impl Moment {
    const SHIFT: u32 = 26;

    /// The moment of a time, rounded down.
    #[inline(always)]
    pub const fn of(time: Nanoseconds) -> Self {
        Self((time >> Self::SHIFT) as u32)
    }

    /// When it was, at the earliest.
    #[inline(always)]
    pub const fn time(self) -> Nanoseconds {
        (self.0 as u64) << Self::SHIFT
    }

    /// The units of 2^26 nanoseconds, modulo 2^32.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// How long ago it was, at the most.
    #[inline(always)]
    pub const fn age(self, now: Nanoseconds) -> Nanoseconds {
        now.saturating_sub(self.time())
    }
}

/// The clock of validities: nanoseconds shifted by this, about a millisecond.
const TICK_SHIFT: u32 = 20;

/// A duration or a moment in units of 2^20 ns; wraps after 52 days.
pub type Ticks = u32;

/// A time or a duration in ticks, rounded down, modulo 2^32.
#[inline(always)]
pub const fn ticks(time: Nanoseconds) -> Ticks {
    (time >> TICK_SHIFT) as Ticks
}
