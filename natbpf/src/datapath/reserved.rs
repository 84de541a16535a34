//! The traffic that is left to the kernel, in the datapath, for a thread of its own.

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use natbpf_common::path::reserved::{ALL_WORDS, WORDS};

use super::{Loaded, Pins, pins::open};

/// The words of `natbpf_common::path::reserved`.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct ReservedTable {
    map: Array<MapData, u64>,
    /// What is in it: nobody else writes.
    known: Vec<u64>,
}

impl ReservedTable {
    /// Opens the pinned map.
    pub fn open(pins: &Pins) -> Result<Self> {
        Self::new(open(&pins.path("RESERVED"))?)
    }

    /// Takes the map of programs that are not pinned.
    pub fn of(loaded: &mut Loaded) -> Result<Self> {
        Self::new(loaded.take_map("RESERVED")?)
    }

    fn new(map: MapData) -> Result<Self> {
        let map = Array::try_from(Map::Array(map))?;
        let known: Result<_, _> = (0..ALL_WORDS).map(|word| map.get(&word, 0)).collect();
        Ok(Self { known: known.context("cannot read what is left to the kernel")?, map })
    }

    /// Writes the words that are others than before. True: there are such.
    pub fn write(&mut self, words: &[u64]) -> Result<bool> {
        let mut changed = false;
        // Those that say that there are any come last: whoever reads them finds the rest.
        let last = [0, WORDS];
        let others = (0..ALL_WORDS).filter(|word| !last.contains(word));
        for word in others.chain(last) {
            let (index, wanted) = (word as usize, words.get(word as usize).copied().unwrap_or_default());
            if self.known.get(index) != Some(&wanted) {
                self.map.set(word, wanted, 0).context("cannot write what is left to the kernel")?;
                self.known[index] = wanted;
                changed = true;
            }
        }
        Ok(changed)
    }
}
