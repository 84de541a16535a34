//! Time, as the datapath's clocks have it. Points in time and lengths of time are types of their own, so that two
//! points are not added.

use core::{
    ops::{Add, Div, Mul, Sub},
    time::Duration,
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! time {
    ($(#[doc = $doc:literal])* $name:ident, $word:ty) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name($word);

        impl $name {
            /// From a number of these units.
            #[inline(always)]
            pub const fn new(number: $word) -> Self {
                Self(number)
            }

            /// The number of these units.
            #[inline(always)]
            pub const fn number(self) -> $word {
                self.0
            }
        }
    };
}

time! {
    /// A point in time: nanoseconds of the monotonic clock, as of `bpf_ktime_get_coarse_ns` and
    /// `CLOCK_MONOTONIC_COARSE`.
    Timestamp, u64
}

time! {
    /// A length of time, in nanoseconds.
    Nanoseconds, u64
}

time! {
    /// A point in time, coarse and short: the monotonic clock in units of 2^26 nanoseconds, 67 milliseconds.
    /// Wraps after nine years.
    Moment, u32
}

time! {
    /// A point in time in units of 2^20 nanoseconds, about a millisecond: the clock of validities. Wraps after 52 days.
    Tick, u32
}

time! {
    /// A length of time in units of 2^20 nanoseconds.
    Ticks, u32
}

/// A second.
pub const SECOND: Nanoseconds = Nanoseconds::seconds(1);

/// Nanoseconds are shifted by this to make ticks.
const TICK_SHIFT: u32 = 20;

impl Timestamp {
    /// The time since another point, which counts as now if it is later: processors need not agree to the nanosecond.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> Nanoseconds {
        Nanoseconds(self.0.saturating_sub(earlier.0))
    }

    /// So long before, at the earliest when the clock began.
    #[inline(always)]
    pub const fn saturating_sub(self, length: Nanoseconds) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// So long after.
    #[inline(always)]
    pub const fn after(self, length: Nanoseconds) -> Self {
        Self(self.0 + length.0)
    }

    /// Rounded down.
    #[inline(always)]
    pub const fn tick(self) -> Tick {
        Tick((self.0 >> TICK_SHIFT) as u32)
    }
}

impl Nanoseconds {
    /// None at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    #[inline(always)]
    pub const fn seconds(number: u64) -> Self {
        Self(number * 1_000_000_000)
    }

    /// What is left of it after another length; at least none.
    #[inline(always)]
    pub const fn saturating_sub(self, length: Self) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// What is left of it after another length; `None`: that one is longer.
    #[inline(always)]
    pub const fn checked_sub(self, length: Self) -> Option<Self> {
        match self.0.checked_sub(length.0) {
            Some(left) => Some(Self(left)),
            None => None,
        }
    }

    /// Both, one after the other, at most as much as there can be.
    #[inline(always)]
    pub const fn saturating_add(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// Rounded down, modulo 2^32 ticks.
    #[inline(always)]
    pub const fn ticks(self) -> Ticks {
        Ticks((self.0 >> TICK_SHIFT) as u32)
    }
}

impl Moment {
    const SHIFT: u32 = 26;

    /// The moment of a time, rounded down.
    #[inline(always)]
    pub const fn of(time: Timestamp) -> Self {
        Self((time.0 >> Self::SHIFT) as u32)
    }

    /// When it was, at the earliest.
    #[inline(always)]
    pub const fn time(self) -> Timestamp {
        Timestamp((self.0 as u64) << Self::SHIFT)
    }

    /// How long ago it was, at the most.
    #[inline(always)]
    pub const fn age(self, now: Timestamp) -> Nanoseconds {
        now.since(self.time())
    }
}

impl Tick {
    /// The time from this one to `now`, less than 52 days later.
    #[inline(always)]
    pub const fn age(self, now: Self) -> Nanoseconds {
        Nanoseconds((now.0.wrapping_sub(self.0) as u64) << TICK_SHIFT)
    }

    /// So long after.
    #[inline(always)]
    pub const fn after(self, length: Ticks) -> Self {
        Self(self.0.wrapping_add(length.0))
    }

    /// Whether it is later than another one, both being less than 26 days apart.
    #[inline(always)]
    pub const fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }
}

impl Add<Nanoseconds> for Timestamp {
    type Output = Self;

    #[inline(always)]
    fn add(self, length: Nanoseconds) -> Self {
        self.after(length)
    }
}

impl Sub<Nanoseconds> for Timestamp {
    type Output = Self;

    #[inline(always)]
    fn sub(self, length: Nanoseconds) -> Self {
        Self(self.0 - length.0)
    }
}

impl Sub for Timestamp {
    type Output = Nanoseconds;

    #[inline(always)]
    fn sub(self, earlier: Self) -> Nanoseconds {
        Nanoseconds(self.0 - earlier.0)
    }
}

impl Add for Nanoseconds {
    type Output = Self;

    #[inline(always)]
    fn add(self, length: Self) -> Self {
        Self(self.0 + length.0)
    }
}

impl Mul<Nanoseconds> for u64 {
    type Output = Nanoseconds;

    #[inline(always)]
    fn mul(self, length: Nanoseconds) -> Nanoseconds {
        Nanoseconds(self * length.0)
    }
}

impl Div<u64> for Nanoseconds {
    type Output = Self;

    #[inline(always)]
    fn div(self, number: u64) -> Self {
        Self(self.0 / number)
    }
}

impl Div for Nanoseconds {
    type Output = u64;

    #[inline(always)]
    fn div(self, length: Self) -> u64 {
        self.0 / length.0
    }
}

impl From<Nanoseconds> for Duration {
    fn from(length: Nanoseconds) -> Self {
        Self::from_nanos(length.0)
    }
}

/// Up to 584 years.
impl From<Duration> for Nanoseconds {
    fn from(length: Duration) -> Self {
        Self(length.as_nanos() as u64)
    }
}
