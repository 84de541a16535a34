//! The epoch in the datapath, for a thread of its own.

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use natbpf_common::contract::gauge::Gauge;

use super::{Pins, pins::open};

/// [`Gauge::Epoch`]
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct EpochGauge(Array<MapData, u64>);

impl EpochGauge {
    /// Opens the pinned map.
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self(Array::try_from(Map::Array(open(&pins.path("GAUGES"))?))?))
    }

    pub fn get(&self) -> Result<u32> {
        Ok(self.0.get(&(Gauge::Epoch as u32), 0).context("cannot read the epoch")? as u32)
    }

    /// 0: offload is off.
    pub fn set(&mut self, epoch: u32) -> Result<()> {
        self.0.set(Gauge::Epoch as u32, u64::from(epoch), 0).context("cannot write the epoch")
    }
}
