//! What natbpf has repeated, and what it has not.

use std::ops::AddAssign;

use natbpf_common::contract::counter::Counter;
use serde_json::Value;

/// What the sums are of. The first says how much the comparison means.
const COUNTED: [Counter; 7] = [
    Counter::PacketsRepeated,
    Counter::PathsNoted,
    Counter::PathsRenewed,
    Counter::CrossingsChanged,
    Counter::CrossingsManifold,
    Counter::CrossingsStale,
    Counter::CrossingsLost,
];

/// Counters of one bed, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; COUNTED.len()],
    /// Whether anything could be repeated at the end.
    pub on: bool,
}

impl Tally {
    /// From `natbpf status --json`.
    pub fn of(status: &Value) -> Option<Self> {
        let groups = status["counters"].as_object()?;
        let mut tally = Self { on: status["offload"]["on"].as_bool()?, ..Self::default() };
        for (count, counter) in tally.counts.iter_mut().zip(COUNTED) {
            *count = groups.values().find_map(|group| group[counter.name()].as_u64())?;
        }
        Some(tally)
    }

    /// Packets that were repeated.
    pub fn repeated(&self) -> u64 {
        self.counts[0]
    }

    /// Each count with the name that it has in `natbpf status`.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        COUNTED.iter().map(|counter| counter.name()).zip(self.counts)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.on |= other.on;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_any_group_are_found() {
        let status = |names: &[&str]| {
            let counts = |names: &[&str]| {
                names
                    .iter()
                    .map(|name| ((*name).to_owned(), Value::from(3)))
                    .collect::<serde_json::Map<_, _>>()
            };
            let (traffic, flows) = names.split_at(1);
            serde_json::json!({
                "offload": { "on": true },
                "counters": { "traffic": counts(traffic), "flows": counts(flows) },
            })
        };
        let names = COUNTED.map(Counter::name);
        let mut tally = Tally::of(&status(&names)).expect("all are there");
        tally += tally;
        assert!(tally.on && tally.repeated() == 6);
        assert!(tally.counts().all(|(_, count)| count == 6));
        assert_eq!(Tally::of(&status(&names[..3])), None);
    }
}
