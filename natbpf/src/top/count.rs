//! Packets and bytes: counted, and in a second.

use std::ops::AddAssign;

use serde::Serialize;

/// Packets, and their bytes from the link layer header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// What has come in the time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// All of them.
    pub packets: u64,
    pub bytes: u64,
    pub packets_per_second: f64,
    pub bits_per_second: f64,
}

impl Count {
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    /// What has come since then. What has counted less than before has begun anew, so all of it has come.
    pub const fn since(self, before: Self) -> Self {
        if self.packets < before.packets || self.bytes < before.bytes {
            return self;
        }
        Self { packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }

    /// The larger one of each.
    pub fn max(self, other: Self) -> Self {
        Self { packets: self.packets.max(other.packets), bytes: self.bytes.max(other.bytes) }
    }

    pub fn rate(self, seconds: f64) -> Rate {
        let Self { packets, bytes } = self;
        Rate {
            packets,
            bytes,
            packets_per_second: per_second(packets, seconds),
            bits_per_second: per_second(bytes.saturating_mul(8), seconds),
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// So many a second; 0 where no time has passed.
pub fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// The part of the whole; `None`: there is no whole. Counters that are not read at one moment may say more than all.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts() -> impl Strategy<Value = Count> {
        any::<(u64, u64)>().prop_map(|(packets, bytes)| Count { packets, bytes })
    }

    proptest! {
        #[test]
        fn a_difference_is_what_has_come(before in counts(), packets in 0..1u64 << 40, bytes in 0..1u64 << 50) {
            let mut after = before;
            after += Count::new(packets, bytes);
            let came = after.since(before);
            // At the end of the numbers it stands still.
            prop_assert!(came.packets <= packets && came.bytes <= bytes);
            if before.packets < 1 << 60 && before.bytes < 1 << 60 {
                prop_assert_eq!(came, Count::new(packets, bytes));
            }
        }

        #[test]
        fn what_has_begun_anew_has_counted_all(before in counts(), after in counts()) {
            let came = after.since(before);
            prop_assert!(came.packets <= after.packets && came.bytes <= after.bytes);
            if after.packets < before.packets {
                prop_assert_eq!(came, after);
            }
        }

        #[test]
        fn no_rate_and_no_share_is_nonsense(count in counts(), seconds in 0.0..1e6, part: u64, whole: u64) {
            let rate = count.rate(seconds);
            prop_assert!(rate.packets_per_second.is_finite() && rate.bits_per_second.is_finite());
            prop_assert!(share(part, whole).is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }

    #[test]
    fn rates_are_for_a_second() {
        let rate = Count::new(1000, 64_000).rate(2.0);
        assert!(
            (rate.packets_per_second - 500.0).abs() < 1e-9 && (rate.bits_per_second - 256_000.0).abs() < 1e-6
        );
        assert_eq!((share(1, 4), share(0, 0)), (Some(0.25), None));
        assert!(per_second(7, 0.0).abs() < 1e-9);
    }
}
