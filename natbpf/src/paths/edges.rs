//! How many paths an edge has.

use std::collections::BTreeMap;

use anyhow::Result;
use natbpf_common::{IfIndex, Timestamp, path::cell::Path, wire::family::Family};

use crate::datapath::Tables;

/// The paths of an edge that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Those of packets that come in by it.
    pub comes: u64,
    /// Those of packets that leave by it.
    pub leaves: u64,
    /// Packets that came in by it and were repeated, as these paths have counted.
    pub packets: u64,
}

/// By interface; one that has none is not among them.
pub fn by_edge(tables: &Tables, now: Timestamp) -> Result<BTreeMap<IfIndex, Load>> {
    let (four, six, epoch) = tables.paths()?;
    let mut found = BTreeMap::new();
    four.each(now, |path, _| add(&mut found, path, now, epoch));
    six.each(now, |path, _| add(&mut found, path, now, epoch));
    Ok(found)
}

fn add<F: Family>(found: &mut BTreeMap<IfIndex, Load>, path: &Path<F>, now: Timestamp, epoch: u32) {
    if Path::<F>::holds(path.until, path.epoch, now, epoch) {
        let from = found.entry(path.key.edge).or_default();
        from.comes += 1;
        from.packets += path.packets;
        found.entry(path.exit.edge).or_default().leaves += 1;
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::{
        path::{cell::Exit, key::PathKey},
        wire::family::V4,
    };

    use super::*;

    #[test]
    fn paths_that_hold_count_at_both_ends() {
        let path = |from, to, until, packets| Path::<V4> {
            key: PathKey { edge: IfIndex::new(from), ..PathKey::default() },
            exit: Exit { edge: IfIndex::new(to), ..Exit::default() },
            until: Timestamp::new(until),
            epoch: 7,
            packets,
            ..Path::default()
        };
        let mut found = BTreeMap::new();
        for path in [path(1, 2, 100, 5), path(1, 3, 100, 6), path(2, 1, 100, 7), path(4, 1, 50, 8)] {
            add(&mut found, &path, Timestamp::new(60), 7);
        }
        let load = |edge| found.get(&IfIndex::new(edge)).copied();
        assert_eq!(load(1), Some(Load { comes: 2, leaves: 1, packets: 11 }));
        assert_eq!(load(2), Some(Load { comes: 1, leaves: 1, packets: 7 }));
        assert_eq!(load(3), Some(Load { comes: 0, leaves: 1, packets: 0 }));
        assert_eq!(load(4), None);
    }
}
