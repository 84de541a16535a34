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

/// Calls back for every entry.
pub fn scan<K: Pod, V: Pod>(map: BorrowedFd<'_>, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
    let mut keys: Vec<K> = Vec::new();
    let mut values: Vec<V> = Vec::new();
    let mut capacity = BATCH;
    // Where the next batch begins, as the kernel counts buckets.
    let mut position: Option<u32> = None;
    loop {
        keys.reserve_exact(capacity);
        values.reserve_exact(capacity);
        let mut next = 0u32;
        let mut attributes = Attributes {
            in_batch: position.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64),
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(capacity).unwrap_or(u32::MAX),
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
                capacity *= 2;
                continue;
            }
            Some(libc::EINTR | libc::EAGAIN) => continue,
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
        };
        let count = (attributes.count as usize).min(capacity);
        // SAFETY: the kernel has written that many.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        for (key, value) in keys.iter().zip(&values) {
            each(key, value);
        }
        if end {
            return Ok(());
        }
        keys.clear();
        values.clear();
        position = Some(next);
    }
}
