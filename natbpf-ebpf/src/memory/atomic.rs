//! Loads, stores and compare-and-swap of words that several processors share.
//!
//! Nothing here makes a reference to a shared value: other processors and user space write at the same time.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

/// Reads a word whole.
#[inline(always)]
pub fn load<T: Copy>(word: *const T) -> T {
    // SAFETY: callers pass pointers into map values, which are valid and aligned for the length of the
    // program.
    unsafe { word.read_volatile() }
}

/// Writes a word whole.
#[inline(always)]
pub fn store<T: Copy>(word: *mut T, value: T) {
    // SAFETY: as in `load`.
    unsafe { word.write_volatile(value) }
}

/// Puts `new` in the place of `old`; false if something else stood there.
#[inline(always)]
pub fn swap(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: as in `load`. SeqCst, because LLVM 22 miscompiles relaxed operations whose result is used.
    let (_, swapped) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new)
    };
    swapped
}

/// The same with half a word.
#[inline(always)]
pub fn swap_half(word: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: as in `swap`.
    let (_, swapped) = unsafe {
        atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new)
    };
    swapped
}

/// Adds to a word; wraps, so that adding `u64::MAX` takes one away.
#[inline(always)]
pub fn add(word: *mut u64, value: u64) {
    // SAFETY: as in `load`.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, value) };
}

/// Adds to a word; returns what stood there.
#[inline(always)]
pub fn fetch_add(word: *mut u64, value: u64) -> u64 {
    // SAFETY: as in `load`. SeqCst as in `swap`.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, value) }
}

/// Sets bits of a word; returns what stood there.
#[inline(always)]
pub fn fetch_or(word: *mut u64, bits: u64) -> u64 {
    // SAFETY: as in `load`. SeqCst as in `swap`.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(word, bits) }
}
