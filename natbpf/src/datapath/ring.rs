//! Records that the datapath writes into a ring buffer.

use std::{fmt, marker::PhantomData};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use super::{Pins, pins::open};

/// Records of one kind. A ring buffer has one reader: what is read is gone.
pub struct Records<T> {
    map: &'static str,
    ring: AsyncFd<RingBuf<MapData>>,
    record: PhantomData<T>,
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("map", &self.map).finish_non_exhaustive()
    }
}

impl<T: FromBytes> Records<T> {
    /// Opens the pinned ring buffer and skips what an earlier reader has left in it. Needs a tokio runtime.
    pub fn open(pins: &Pins, map: &'static str) -> Result<Self> {
        let mut ring = RingBuf::try_from(Map::RingBuf(open(&pins.path(map))?))?;
        while ring.next().is_some() {}
        // SAFETY: the ring owns its descriptor, so it stays open and the same as long as it is registered.
        let ring = unsafe { AsyncFd::register(ring) }
            .with_context(|| format!("cannot wait for records of {map}"))?;
        Ok(Self { map, ring, record: PhantomData })
    }

    /// The next records; at least one. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<T>> {
        loop {
            let ready = self.ring.readable_mut().await;
            let mut ready = ready.with_context(|| format!("cannot wait for records of {}", self.map))?;
            let ring = ready.get_inner_mut();
            let mut records = Vec::new();
            while let Some(item) = ring.next() {
                records.extend(T::read_from_bytes(&item).ok());
            }
            ready.clear_ready();
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}
