//! The epoch: counted up when something of the network has changed, so that every flow asks the kernel again.

use std::time::Duration;

use tokio::time::Instant;

/// Between two epochs, however much happens.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often a change counts it up: at once, and again an interval later. A packet that the kernel had
/// decided on before the change may be under way still, and be noted under the first of the two.
const TIMES: u8 = 2;

/// The epoch that follows. Never 0, which says that offload is off.
pub const fn next(epoch: u32) -> u32 {
    if epoch == u32::MAX { 1 } else { epoch + 1 }
}

/// The epoch, and when the next one is due.
#[derive(Debug)]
pub struct Epoch {
    /// The latest one, also while offload is off, so that none comes back before paths noted under it are over.
    number: u32,
    /// When it was counted up.
    since: Option<Instant>,
    /// How often it is to be counted up still.
    owed: u8,
}

impl Epoch {
    /// Goes on from an earlier daemon's epoch, or from any number.
    pub const fn new(number: u32) -> Self {
        Self { number, since: None, owed: 0 }
    }

    /// Something has changed.
    pub const fn change(&mut self) {
        self.owed = TIMES;
    }

    /// When the next one is due, if one is. That may be over.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (self.owed > 0).then(|| self.since.map_or(now, |since| since + INTERVAL))
    }

    /// The next epoch, from now on.
    pub fn count_up(&mut self, now: Instant) -> u32 {
        self.number = next(self.number);
        self.since = Some(now);
        self.owed = self.owed.saturating_sub(1);
        self.number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_never_is_zero() {
        assert_eq!(next(0), 1);
        assert_eq!(next(1), 2);
        assert_eq!(next(u32::MAX), 1);
    }

    #[test]
    fn a_change_counts_at_once_and_once_more() {
        let start = Instant::now();
        let mut epoch = Epoch::new(7);
        assert_eq!(epoch.due(start), None);
        epoch.change();
        assert_eq!(epoch.due(start), Some(start));
        assert_eq!(epoch.count_up(start), 8);
        assert_eq!(epoch.due(start), Some(start + INTERVAL));
        assert_eq!(epoch.count_up(start + INTERVAL), 9);
        assert_eq!(epoch.due(start + INTERVAL), None);
    }

    proptest! {
        /// Changes at these milliseconds, and an event loop that does what is due.
        #[test]
        fn no_change_is_lost_and_none_comes_too_fast(gaps in prop::collection::vec(0..200u64, 1..50)) {
            let start = Instant::now();
            let mut epoch = Epoch::new(1);
            let mut counted: Vec<Instant> = Vec::new();
            let mut run_until = |epoch: &mut Epoch, from: Instant, until: Instant| {
                while let Some(due) = epoch.due(from).filter(|due| *due <= until) {
                    epoch.count_up(due.max(from));
                    counted.push(due.max(from));
                }
            };
            let (mut now, mut changes) = (start, Vec::new());
            for gap in gaps {
                let later = now + Duration::from_millis(gap);
                run_until(&mut epoch, now, later);
                now = later;
                epoch.change();
                changes.push(now);
            }
            run_until(&mut epoch, now, now + Duration::from_secs(1));
            prop_assert_eq!(epoch.due(now), None);
            for pair in counted.windows(2) {
                prop_assert!(pair[1] - pair[0] >= INTERVAL);
            }
            for change in changes {
                let after: Vec<_> = counted.iter().filter(|counted| **counted >= change).collect();
                prop_assert!(after.len() >= 2 && *after[0] - change <= INTERVAL);
                prop_assert!(*after[1] - change >= INTERVAL, "the second comes after what was under way");
            }
        }
    }
}
