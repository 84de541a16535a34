//! How many packets natbpf repeated, by its own account, and whether it can.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use natbpf::datapath::{Pins, Tables};
use natbpf_common::contract::counter::Counter;

use crate::gateway::natbpf::INSTANCE;

/// Longer than natbpf keeps changes back that come often.
const REST: Duration = Duration::from_millis(1500);
const LIMIT: Duration = Duration::from_secs(15);

/// The tables of the lab's natbpf.
pub struct Repeated(Tables);

impl Repeated {
    /// `bpffs`: where they are pinned.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let tables = Tables::open(&Pins::new(bpffs, INSTANCE));
        Ok(Self(tables.context("the tables of this natbpf cannot be read by this program")?))
    }

    pub fn packets(&self) -> Result<u64> {
        Ok(self.0.counters()?[Counter::PacketsRepeated as usize])
    }

    /// Waits until the network has been at rest for a while. In a new one bridges learn and IPv6 comes up, and each
    /// change ends all paths.
    pub fn settle(&self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        let (mut epoch, mut since) = (self.0.epoch()?, Instant::now());
        while since.elapsed() < REST {
            ensure!(Instant::now() < end, "the network of the lab changes all the time, by natbpf's epoch");
            thread::sleep(Duration::from_millis(50));
            let now = self.0.epoch()?;
            if now != epoch {
                (epoch, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}
