//! The order in which packets were seen, over all processors.

use natbpf_common::{Nanoseconds, Timestamp};

use crate::datapath::Seen;

/// What a processor has stamped is in its buffer after this time.
const SETTLED: Nanoseconds = Nanoseconds::new(1_000_000);

/// Packets that others may still come before.
#[derive(Debug, Default)]
pub struct Order {
    waiting: Vec<Seen>,
}

impl Order {
    pub fn add(&mut self, seen: Vec<Seen>) {
        self.waiting.extend(seen);
        // Stable: before stays before after.
        self.waiting.sort_by_key(|seen| seen.sight.time);
    }

    /// Those that nothing comes before any more, if all that was in the buffer at the time `read` was taken out.
    pub fn settled(&mut self, read: Timestamp) -> Vec<Seen> {
        let settled = self.waiting.partition_point(|seen| seen.sight.time + SETTLED < read);
        self.waiting.drain(..settled).collect()
    }

    /// All of them: there are no more to come.
    pub fn rest(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::contract::trace::{Sight, Spot};

    use super::*;

    fn seen(time: u64) -> Seen {
        let sight = Sight { time: Timestamp::new(time), ..Sight::default() };
        Seen { spot: Spot::EdgeIngress, sight, bytes: Vec::new() }
    }

    #[test]
    fn what_is_young_waits_for_others() {
        let mut order = Order::default();
        let times = |seen: Vec<Seen>| seen.iter().map(|seen| seen.sight.time.number()).collect::<Vec<_>>();
        let last = SETTLED.number() + 20;
        order.add(vec![seen(10), seen(30), seen(20), seen(last)]);
        assert_eq!(times(order.settled(Timestamp::new(last))), [10]);
        order.add(vec![seen(15)]);
        assert_eq!(times(order.settled(Timestamp::new(last + 1))), [15, 20]);
        assert_eq!(times(order.rest()), [30, last]);
        assert!(order.rest().is_empty());
    }
}
