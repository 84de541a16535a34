//! The stream of flow events.

use std::fs::File;

use anyhow::{Result, bail};
use natbpf_common::contract::event::FlowEvent;
use nix::fcntl::Flock;

use super::{Pins, Records};

/// Events of the datapath, for one reader at a time.
#[derive(Debug)]
pub struct Events {
    records: Records<FlowEvent>,
    _lock: Flock<File>,
}

impl Events {
    pub fn open(pins: &Pins) -> Result<Self> {
        let Some(lock) = pins.lock_events()? else {
            bail!(
                "another `natbpf flows watch` is running on this instance, and events go to one reader; end it first"
            );
        };
        Ok(Self { records: Records::open(pins, "EVENTS")?, _lock: lock })
    }

    /// The next events; at least one.
    pub async fn next(&mut self) -> Result<Vec<FlowEvent>> {
        self.records.next().await
    }
}
