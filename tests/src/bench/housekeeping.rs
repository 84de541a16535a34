//! What natbpf's housekeeping costs, which goes through the whole flow table again and again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use natbpf::datapath::{Pins, Reaper, Tables};
use natbpf::gc;

use crate::gateway::natbpf::INSTANCE;
use crate::netns::isolate::bpffs;

/// The time of one round through the tables of the lab's natbpf, which hold so many flows. The daemon does the same,
/// on its own.
pub fn round(flows: u32) -> Result<Duration> {
    let pins = Pins::new(bpffs(), INSTANCE);
    // Another version's tables have another layout.
    let tables = Tables::open(&pins).context("the tables of this natbpf cannot be read by this program")?;
    let reaper = Reaper::open(&pins)?;
    let start = Instant::now();
    let round = gc::collect(&tables, &reaper)?;
    let took = start.elapsed();
    ensure!(
        round.entries >= 2 * u64::from(flows),
        "{flows} flows have {} entries in the table",
        round.entries
    );
    Ok(took)
}
