//! The tables of paths, mapped: they are read, and paths are ended, without stopping anything.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use natbpf_common::{
    Timestamp,
    path::{
        cell::Path,
        set::{Cell, Set, WAYS},
    },
    wire::family::Family,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A table of paths in this process's memory. Programs write it at the same time.
#[derive(Debug)]
pub struct Mapped<F: Family> {
    start: NonNull<Set<F>>,
    sets: usize,
    family: PhantomData<F>,
}

/// Where a path is. It stays there as long as it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Of the cell, less than [`Mapped::room`].
    pub number: usize,
    /// Half of the hash of the path's key; never 0.
    pub tag: u32,
}

impl<F: Family> Mapped<F> {
    pub(super) fn of(map: &MapData) -> Result<Self> {
        let sets = map.info()?.max_entries() as usize;
        let length = NonZeroUsize::new(sets * size_of::<Set<F>>()).context("the table of paths is empty")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory, which nothing else in this process has.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        let start = start.map_err(io::Error::from).context("cannot map the table of paths")?;
        Ok(Self { start: start.cast(), sets, family: PhantomData })
    }

    /// How many paths there is room for.
    pub const fn room(&self) -> usize {
        self.sets * WAYS
    }

    /// Calls back for every path that is there, also one that has run out, with what has it run out now.
    pub fn each(&self, now: Timestamp, mut each: impl FnMut(&Path<F>, &dyn Fn())) {
        self.each_placed(now, |_, path, end| each(path, end));
    }

    /// The same with where it is.
    pub fn each_placed(&self, now: Timestamp, mut each: impl FnMut(Placed, &Path<F>, &dyn Fn())) {
        for number in 0..self.sets * WAYS {
            // SAFETY: within the table. It is memory that programs write at the same time, so no reference is made.
            let (tag, cell) = unsafe {
                let set = self.start.as_ptr().add(number / WAYS);
                let tag = (&raw mut (*set).tags).cast::<u32>().add(number % WAYS);
                let cell = (&raw mut (*set).cells).cast::<Cell<F>>().add(number % WAYS);
                (tag, cell.cast::<Path<F>>())
            };
            // Most cells never have had a path, and what is not looked at costs nothing.
            // SAFETY: as above.
            let tag = unsafe { tag.read_volatile() };
            if tag == 0 {
                continue;
            }
            // SAFETY: as above; a word that is aligned, and read and written whole.
            let until = unsafe { AtomicU64::from_ptr((&raw mut (*cell).until).cast()) };
            let before = until.load(Ordering::Acquire);
            if before == 0 {
                continue;
            }
            // SAFETY: as above; any bytes make a path, and what was written meanwhile is found out.
            let path = unsafe { cell.read_volatile() };
            fence(Ordering::Acquire);
            if until.load(Ordering::Relaxed) == before {
                // A path that was noted anew meanwhile is another one.
                each(Placed { number, tag }, &path, &|| {
                    let _ =
                        until.compare_exchange(before, now.number(), Ordering::Relaxed, Ordering::Relaxed);
                });
            }
        }
    }
}

impl<F: Family> Drop for Mapped<F> {
    fn drop(&mut self) {
        // SAFETY: mapped in `of` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.sets * size_of::<Set<F>>()) };
    }
}
