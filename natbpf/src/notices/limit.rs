//! How many ICMP errors are sent: to one source, and in all (RFC 1812, section 4.3.2.8).

use std::{collections::HashMap, net::Ipv4Addr};

use natbpf_common::{Nanoseconds, SECOND, Timestamp};

/// To one source: the kernel's `icmp_ratelimit` as it is by default, with the burst of `inet_peer_xrlim_allow`.
const SOURCE: Rate = Rate { interval: SECOND, burst: 6 };

/// In all: the kernel's `icmp_msgs_per_sec` and `icmp_msgs_burst` as they are by default.
const TOTAL: Rate = Rate { interval: Nanoseconds::new(1_000_000), burst: 50 };

/// How many sources are remembered. One that was not told within the time of a burst need not be, and the rate in all
/// does not let so many be told in that time: there always is room.
const SOURCES: usize = 8192;

const _: () =
    assert!((SOURCE.full().number() / TOTAL.interval.number()) as usize + (TOTAL.burst as usize) < SOURCES);

/// One for each interval on average, so many at once after a silence.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Nanoseconds,
    burst: u64,
}

/// A token bucket, its tokens as time saved.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    saved: Nanoseconds,
    since: Timestamp,
}

/// Both limits.
#[derive(Debug)]
pub struct Limits {
    total: Bucket,
    sources: HashMap<Ipv4Addr, Bucket>,
}

impl Rate {
    /// Until an empty bucket is full.
    const fn full(self) -> Nanoseconds {
        Nanoseconds::new(self.interval.number() * self.burst)
    }
}

impl Bucket {
    const fn full(rate: Rate, now: Timestamp) -> Self {
        Self { saved: rate.full(), since: now }
    }

    fn saved(&self, rate: Rate, now: Timestamp) -> Nanoseconds {
        rate.full().min(self.saved.saturating_add(now.since(self.since)))
    }

    /// With one token less; `None`: there is none.
    fn take(&self, rate: Rate, now: Timestamp) -> Option<Self> {
        let saved = self.saved(rate, now).checked_sub(rate.interval)?;
        Some(Self { saved, since: now })
    }
}

impl Limits {
    pub fn new(now: Timestamp) -> Self {
        Self { total: Bucket::full(TOTAL, now), sources: HashMap::new() }
    }

    /// Whether a source may be sent an error now; one that may not costs nothing. Row S19.
    pub fn allow(&mut self, source: Ipv4Addr, now: Timestamp) -> bool {
        let bucket = self.sources.get(&source).copied().unwrap_or_else(|| Bucket::full(SOURCE, now));
        let (Some(bucket), Some(total)) = (bucket.take(SOURCE, now), self.total.take(TOTAL, now)) else {
            return false;
        };
        if self.sources.len() >= SOURCES {
            self.sources.retain(|_, bucket| bucket.saved(SOURCE, now) < SOURCE.full());
        }
        self.sources.insert(source, bucket);
        self.total = total;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
    const START: Timestamp = Timestamp::new(1000 * SECOND.number());

    fn allowed(limits: &mut Limits, source: Ipv4Addr, times: usize, now: Timestamp) -> usize {
        (0..times).filter(|_| limits.allow(source, now)).count()
    }

    #[test]
    fn a_source_gets_six_at_once_and_one_a_second() {
        let mut limits = Limits::new(START);
        assert_eq!(allowed(&mut limits, ONE, 100, START), 6);
        assert_eq!(allowed(&mut limits, ONE, 100, START + SECOND - Nanoseconds::new(1)), 0);
        assert_eq!(allowed(&mut limits, ONE, 100, START + SECOND), 1);
        assert_eq!(allowed(&mut limits, ONE, 100, START + 4 * SECOND), 3);
        assert_eq!(allowed(&mut limits, ONE, 100, START + 3600 * SECOND), 6);
        assert_eq!(allowed(&mut limits, Ipv4Addr::new(10, 0, 0, 12), 100, START + 3600 * SECOND), 6);
    }

    #[test]
    fn all_together_get_fifty_at_once() {
        let mut limits = Limits::new(START);
        let sources = (0..1000u32).map(|number| Ipv4Addr::from(0x0a00_0000 + number));
        assert_eq!(sources.filter(|source| limits.allow(*source, START)).count(), 50);
        assert!(!limits.allow(ONE, START + SECOND / 1000 - Nanoseconds::new(1)));
        assert!(limits.allow(ONE, START + SECOND / 1000));
    }

    /// A source that everybody else's noise kept from an answer has not lost it.
    #[test]
    fn what_is_not_sent_costs_nothing() {
        let mut limits = Limits::new(START);
        for number in 0..50u32 {
            assert!(limits.allow(Ipv4Addr::from(0x0b00_0000 + number), START));
        }
        assert_eq!(allowed(&mut limits, ONE, 100, START), 0);
        assert_eq!(allowed(&mut limits, ONE, 100, START + SECOND), 6);
    }

    /// Sources that are made up fill no memory.
    #[test]
    fn no_flood_of_sources_is_remembered() {
        let mut limits = Limits::new(START);
        let mut sent = 0;
        for number in 0..100_000u32 {
            let now = START + u64::from(number) * SECOND / 2000;
            sent += u64::from(limits.allow(Ipv4Addr::from(number), now));
            assert!(limits.sources.len() <= SOURCES);
        }
        assert!((50_000..=50_051).contains(&sent), "{sent} in 50 s");
    }

    proptest! {
        /// However they ask, and although what is remembered is thrown away now and then.
        #[test]
        fn nobody_gets_more_than_the_rate(gaps in proptest::collection::vec((0..4u8, 0..SECOND.number()), 1..300)) {
            let mut limits = Limits::new(START);
            let mut now = START;
            let mut sent = [0u64; 4];
            for (source, gap) in gaps {
                now = now + Nanoseconds::new(gap);
                sent[usize::from(source)] += u64::from(limits.allow(Ipv4Addr::new(10, 0, 0, source), now));
            }
            prop_assert!(sent.iter().all(|sent| *sent <= 6 + (now - START) / SECOND), "{sent:?}");
        }
    }
}
