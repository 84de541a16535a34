//! The stream of flow events.

use std::{
    fmt,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, RingBuf};
use natbpf_common::event::FlowEvent;
use nix::fcntl::Flock;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes as _;

use super::{Pins, open};

/// Events of the datapath, for one reader at a time.
#[derive(Debug)]
pub struct Events {
    ring: AsyncFd<Ring>,
    _lock: Flock<File>,
}

struct Ring(RingBuf<MapData>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.0.as_raw_fd()).finish()
    }
}

impl Events {
    pub fn open(pins: &Pins) -> Result<Self> {
        let Some(lock) = pins.lock_events()? else {
            bail!(
                "another `natbpf flows watch` is running on this instance, and events go to one reader; end it first"
            );
        };
        let mut ring = RingBuf::try_from(Map::RingBuf(open(&pins.path("EVENTS"))?))?;
        // What an earlier watcher has not read.
        while ring.next().is_some() {}
        // SAFETY: the ring owns its descriptor, so it stays open and the same as long as it is registered.
        let ring = unsafe { AsyncFd::register(Ring(ring)) }.context("cannot wait for flow events")?;
        Ok(Self { ring, _lock: lock })
    }

    /// The next events; at least one.
    pub async fn next(&mut self) -> Result<Vec<FlowEvent>> {
        loop {
            let mut ready = self.ring.readable_mut().await.context("cannot wait for flow events")?;
            let ring = &mut ready.get_inner_mut().0;
            let mut events = Vec::new();
            while let Some(item) = ring.next() {
                events.extend(FlowEvent::read_from_bytes(&item).ok());
            }
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}
