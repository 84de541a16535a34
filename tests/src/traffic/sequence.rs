//! The generator's sequence: an array of BPF, mapped. A million entries one by one would be a million system calls.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Map;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Writes it from the beginning.
pub fn write(map: &Map, sequence: &[u64]) -> Result<()> {
    let Map::Array(map) = map else { bail!("the sequence is no array") };
    ensure!(sequence.len() <= map.info()?.max_entries() as usize, "the sequence is longer than its map");
    let length = NonZeroUsize::new(size_of_val(sequence)).context("the sequence is empty")?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: new memory, which nothing else in this process has.
    let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
    let start = start.map_err(io::Error::from).context("cannot map the sequence")?;
    // SAFETY: so much was mapped, at the beginning of a page, and the program does not run meanwhile.
    unsafe { start.cast::<u64>().as_ptr().copy_from_nonoverlapping(sequence.as_ptr(), sequence.len()) };
    // SAFETY: mapped above, and nothing refers to it any more.
    unsafe { munmap(start, length.get()) }.map_err(io::Error::from).context("cannot unmap the sequence")
}
