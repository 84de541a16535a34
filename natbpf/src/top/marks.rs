//! What each path had counted at the reading before, to know what has come since.

use natbpf_common::time::Tick;

use super::count::Count;

/// A path had counted this; 24 bytes, of which memory has those alone that were written.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// 0: there was none.
    tag: u32,
    count: Count,
}

/// A path at a reading.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Of its key; never 0.
    pub tag: u32,
    /// When it was first noted.
    pub since: Tick,
    /// All that it has counted.
    pub count: Count,
}

/// Those of a table.
#[derive(Debug, Default)]
pub struct Marks(Vec<Mark>);

impl Marks {
    pub fn new(room: usize) -> Self {
        Self(vec![Mark::default(); room])
    }

    /// What has come by the path at this place since the reading before, which began at `before`; `None`: this is
    /// the first one.
    pub fn put(&mut self, place: usize, path: Sighting, before: Option<Tick>) -> Count {
        let Some(mark) = self.0.get_mut(place) else { return Count::default() };
        let known = std::mem::replace(mark, Mark { tag: path.tag, count: path.count });
        match before {
            None => Count::default(),
            Some(_) if known.tag == path.tag => path.count.since(known.count),
            Some(before) if !before.is_after(path.since) => path.count,
            // It was there, and being written when it was to be read. How much of it is new nobody knows.
            Some(_) => Count::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use natbpf_common::{Nanoseconds, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn tick(seconds: u64) -> Tick {
        (Timestamp::new(1 << 60) + Nanoseconds::seconds(seconds)).tick()
    }

    fn path(tag: u32, since: u64, packets: u64) -> Sighting {
        Sighting { tag, since: tick(since), count: Count::new(packets, packets * 100) }
    }

    /// What happens in a second to the path at a place.
    #[derive(Clone, Debug)]
    enum Step {
        Packets(u64),
        /// Another one, or the same again, takes the place.
        Noted(u32, u64),
        Nothing,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
        let step = prop_oneof![
            (0..1000u64).prop_map(Step::Packets),
            (1..4u32, 0..1000u64).prop_map(|(tag, packets)| Step::Noted(tag, packets)),
            Just(Step::Nothing),
        ];
        prop::collection::vec((0..3usize, step), 0..60)
    }

    proptest! {
        /// Paths come and go and are noted anew: never more is counted than has come, and all of what was there.
        #[test]
        fn what_comes_is_counted_once(steps in steps()) {
            let mut marks = Marks::new(3);
            let mut table: BTreeMap<usize, Sighting> = BTreeMap::new();
            let mut noted_anew = false;
            for (second, (place, step)) in (1..).zip(steps) {
                let mut came: BTreeMap<usize, u64> = BTreeMap::new();
                match step {
                    Step::Packets(more) => if let Some(path) = table.get_mut(&place) {
                        path.count += Count::new(more, more * 100);
                        came.insert(place, more);
                    },
                    Step::Noted(tag, packets) => {
                        let known = table.insert(place, path(tag, second, packets));
                        noted_anew = known.is_some_and(|known| known.tag == tag && known.count.packets <= packets);
                        came.insert(place, packets);
                    }
                    Step::Nothing => {}
                }
                for (at, path) in &table {
                    let found = marks.put(*at, *path, Some(tick(second))).packets;
                    let all = came.get(at).copied().unwrap_or_default();
                    // The same path anew, with more than it had: it cannot be told from one that went on.
                    prop_assert!(found == all || noted_anew && found <= all, "{found} of {all} at {at}");
                }
                noted_anew = false;
            }
        }
    }

    #[test]
    fn the_first_reading_says_nothing_and_the_second_all() {
        let mut marks = Marks::new(2);
        assert_eq!(marks.put(0, path(7, 1, 500), None), Count::default());
        assert_eq!(marks.put(0, path(7, 1, 530), Some(tick(10))).packets, 30);
        assert_eq!(marks.put(1, path(8, 10, 12), Some(tick(10))).packets, 12, "it is new");
    }

    /// What a rest has made young again keeps what it has counted.
    #[test]
    fn a_path_that_is_young_again_has_not_sent_all_of_it_anew() {
        let mut marks = Marks::new(1);
        marks.put(0, path(7, 1, 500), None);
        assert_eq!(marks.put(0, path(7, 11, 502), Some(tick(10))).packets, 2);
    }

    #[test]
    fn an_old_path_that_was_missed_is_no_peak() {
        let mut marks = Marks::new(1);
        assert_eq!(marks.put(0, path(7, 1, 1_000_000), Some(tick(10))), Count::default());
        assert_eq!(marks.put(0, path(7, 1, 1_000_005), Some(tick(11))).packets, 5);
        assert_eq!(marks.put(9, path(7, 1, 3), Some(tick(11))), Count::default(), "no place of this table");
    }
}
