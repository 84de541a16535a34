//! Reading a whole hash map by `BPF_MAP_LOOKUP_BATCH`, which aya 0.14 does not know: a system call for
//! thousands of entries instead of two for each.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::Pod;

use super::sys::{MAP_LOOKUP_BATCH, bpf};

/// Entries asked for at a time. Doubled when a bucket of the map has more.
const BATCH: usize = 4096;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Going through a map, slice by slice.
#[derive(Debug)]
pub struct Scan<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    capacity: usize,
    /// Where the next batch begins, as the kernel counts buckets.
    position: Option<u32>,
}

impl<K, V> Default for Scan<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), capacity: BATCH, position: None }
    }
}

impl<K: Pod, V: Pod> Scan<K, V> {
    /// Calls back for the next entries, some thousands; true: these were the last ones, and the next slice begins anew.
    pub fn slice(&mut self, map: BorrowedFd<'_>, mut each: impl FnMut(&K, &V)) -> io::Result<bool> {
        loop {
            self.keys.clear();
            self.values.clear();
            self.keys.reserve_exact(self.capacity);
            self.values.reserve_exact(self.capacity);
            let mut next = 0u32;
            let mut attributes = Attributes {
                in_batch: self.position.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64),
                out_batch: (&raw mut next) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(self.capacity).unwrap_or(u32::MAX),
                map_fd: map.as_raw_fd().cast_unsigned(),
                ..Attributes::default()
            };
            // SAFETY: both vectors have room for `count` elements, and any bytes make a `Pod`.
            let error = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attributes) }.err();
            let end = match error.as_ref().and_then(io::Error::raw_os_error) {
                None => false,
                // The last batch.
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) => {
                    self.capacity *= 2;
                    continue;
                }
                Some(libc::EINTR | libc::EAGAIN) => continue,
                Some(code) => return Err(io::Error::from_raw_os_error(code)),
            };
            let count = (attributes.count as usize).min(self.capacity);
            // SAFETY: the kernel has written that many.
            unsafe {
                self.keys.set_len(count);
                self.values.set_len(count);
            }
            for (key, value) in self.keys.iter().zip(&self.values) {
                each(key, value);
            }
            self.position = (!end).then_some(next);
            return Ok(end);
        }
    }
}

/// Calls back for every entry.
pub fn scan<K: Pod, V: Pod>(map: BorrowedFd<'_>, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
    let mut scan = Scan::default();
    while !scan.slice(map, &mut each)? {}
    Ok(())
}
