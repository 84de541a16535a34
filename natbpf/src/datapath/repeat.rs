//! What holds for all paths, and the table of them.

use anyhow::{Context as _, Result};
use natbpf_common::{
    Nanoseconds,
    contract::gauge::Gauge,
    path::{family::PathKeys, repeat::Repeat},
    wire::family::{V4, V6},
};

use super::{Tables, mapped::Mapped};

impl Tables {
    pub fn repeat(&self) -> Result<Repeat> {
        self.repeat.get(&0, 0).context("cannot read what holds for all paths")
    }

    /// Tells the datapath how large its tables of paths are, how long a path holds, and what the keys of their hashes
    /// are: those that are there already, or else these.
    pub fn set_repeat(
        &mut self,
        revalidate: Nanoseconds,
        keys: impl FnOnce() -> Result<PathKeys>,
    ) -> Result<()> {
        let known = self.repeat()?.keys;
        let repeat = Repeat {
            sets: self.paths.info()?.max_entries(),
            sets6: self.paths6.info()?.max_entries(),
            revalidate,
            keys: if known[0].is_unset() { keys()? } else { known },
        };
        self.repeat.set(0, repeat, 0).context("cannot write what holds for all paths")
    }

    /// The epoch for which paths have to be noted now.
    pub fn paths_epoch(&self) -> Result<u32> {
        // Of the two numbers that the datapath adds.
        Ok(self.gauge(Gauge::Epoch)?.wrapping_add(self.gauge(Gauge::Ended)?) as u32)
    }

    /// The tables of paths, and [`Tables::paths_epoch`].
    pub fn paths(&self) -> Result<(Mapped<V4>, Mapped<V6>, u32)> {
        let epoch = self.paths_epoch()?;
        Ok((Mapped::of(&self.paths)?, Mapped::of(&self.paths6)?, epoch))
    }
}
