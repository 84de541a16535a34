//! The order in which flows have their turns.
//!
//! Tables lie in memory as they were filled: who visits flows in the order of their creation goes through a
//! preallocated hash table from its beginning to its end, and the processor has the next line ready. Packets of a
//! network do not come so.

use clap::ValueEnum;

use crate::random::Random;

/// The same in every run.
const SEED: u64 = 0x006e_6174_6270_6601;

/// Draws at least, so that also few flows have the shares that they should have.
const DRAWS: u32 = 1 << 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// As they were created, again and again
    Created,
    /// In a random order, each once before the first comes again
    #[default]
    Random,
    /// Drawn by Zipf's law with exponent 1: the second has half as many packets as the first, the third a third
    Zipf,
}

impl Order {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "the order of their creation",
            Self::Random => "random order",
            Self::Zipf => "Zipf order",
        }
    }

    /// How many turns there are before it all begins anew.
    pub const fn turns(self, flows: u32) -> u32 {
        match self {
            Self::Zipf if flows < DRAWS => DRAWS,
            _ => flows,
        }
    }

    /// The numbers of the flows, from 0, a turn each.
    pub fn sequence(self, flows: u32) -> Vec<u64> {
        let mut random = Random::new(SEED);
        let mut numbers: Vec<u64> = (0..flows.into()).collect();
        if self != Self::Created {
            // Fisher and Yates.
            for end in (1..numbers.len()).rev() {
                numbers.swap(end, random.below(end + 1));
            }
        }
        if self != Self::Zipf {
            return numbers;
        }
        let mut total = 0.0;
        let share = |rank: u32| {
            total += 1.0 / f64::from(rank);
            total
        };
        let up_to: Vec<f64> = (1..=flows).map(share).collect();
        let draw = |_| {
            let point = (random.word() >> 11) as f64 / (1u64 << 53) as f64 * total;
            let rank = up_to.partition_point(|sum| *sum <= point);
            // The flow of a rank is any: those with many packets do not lie side by side.
            numbers[rank.min(numbers.len() - 1)]
        };
        (0..self.turns(flows)).map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_flow_has_one_turn_in_created_and_in_random_order() {
        for flows in [1, 2, 1000] {
            for order in [Order::Created, Order::Random] {
                let mut sequence = order.sequence(flows);
                assert_eq!(sequence, order.sequence(flows), "the same in every run");
                assert_eq!(sequence.len(), order.turns(flows) as usize);
                sequence.sort_unstable();
                assert_eq!(sequence, (0..u64::from(flows)).collect::<Vec<_>>(), "{order:?}");
            }
        }
    }

    #[test]
    fn random_order_has_no_neighbours_in_a_row() {
        let created = Order::Created.sequence(10_000);
        let random = Order::Random.sequence(10_000);
        let near =
            |sequence: &[u64]| sequence.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 8).count();
        assert_eq!(near(&created), 9_999);
        assert!(near(&random) < 50, "{} neighbours of 10,000", near(&random));
        // A third of the flows, as by chance; a fixed stride would have another.
        let distance: u64 = random.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        assert!((3_200..3_470).contains(&(distance / 9_999)), "{distance}");
    }

    #[test]
    fn shares_are_those_of_zipf() {
        let sequence = Order::Zipf.sequence(1000);
        assert_eq!(sequence.len(), DRAWS as usize);
        let mut counts = HashMap::<u64, u32>::new();
        for flow in sequence {
            assert!(flow < 1000);
            *counts.entry(flow).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        // 65536 draws over the 1000th harmonic number, 7.4855.
        let expected = |rank: usize| 8755.0 / rank as f64;
        for rank in [1, 2, 3, 10] {
            let (_, count) = counts[rank - 1];
            let off = (f64::from(count) - expected(rank)).abs();
            assert!(off < 5.0 * expected(rank).sqrt(), "rank {rank}: {count}, not {:.0}", expected(rank));
        }
        assert!(counts.len() > 990, "{} flows of 1000 have a turn", counts.len());
        let first: Vec<_> = counts.iter().take(3).map(|(flow, _)| *flow).collect();
        assert_ne!(first, [0, 1, 2]);
        assert_eq!(Order::Zipf.sequence(1), vec![0; DRAWS as usize]);
    }
}
