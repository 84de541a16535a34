//! Geometry of the table of paths: an array of sets, each of which has room for a few paths. Which set a tuple belongs
//! to says a keyed hash, so nobody can choose tuples that crowd one set.
//!
//! An array, because a lookup in one is a few instructions, while that in a hash map is a call and a chain of places
//! in memory; and user space can map it, and read it without stopping anything.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::cell::Path;
use crate::wire::family::{Family, V4, V6};

/// Paths in a set.
pub const WAYS: usize = 8;

/// Candidates in a set.
pub const CANDIDATES: usize = 3;

/// A set. Its first line in memory says which of its cells a tuple may be in: for a tuple without a path
/// that is all that is looked at.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Set<F: Family = V4> {
    /// For each cell the upper half of its key's hash; 0: the cell is free.
    pub tags: [u32; WAYS],
    /// 1: a program is writing into the set.
    pub lock: u64,
    /// What would be paths if the next packet of their tuple confirms it: keyed hashes of tuple, frame, and how the packet
    /// left; 0: none. A flood of tuples drives out others that are as new, and no path.
    pub candidates: [u64; CANDIDATES],
    /// The cells.
    pub cells: [Cell<F>; WAYS],
}

/// The place of a path, which is not in more lines of memory than it has to be.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct Cell<F: Family = V4>(pub Path<F>);

/// Which of so many sets a hash belongs to; the number is a power of two.
#[inline(always)]
pub const fn set_of(hash: u64, sets: u32) -> u32 {
    hash as u32 & sets.wrapping_sub(1)
}

/// What stands in [`Set::tags`] for a hash; never 0.
#[inline(always)]
pub const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// Which of the candidates of its set is this hash's.
#[inline(always)]
pub const fn candidate_of(hash: u64) -> usize {
    // By other bits than the set, evenly.
    ((hash >> 48) as usize * CANDIDATES) >> 16
}

const _: () = assert!(size_of::<Set<V4>>() == 64 + WAYS * 128 && size_of::<Set<V6>>() == 64 + WAYS * 160);

#[cfg(feature = "user")]
mod user {
    use crate::wire::family::{V4, V6};

    // SAFETY: `repr(C)`, and any bytes are valid. The bytes behind a path of IPv4 in its cell are nobody's, and no
    // map's value has others there than zeros.
    unsafe impl aya::Pod for super::Set<V4> {}
    // SAFETY: as above, and there are none.
    unsafe impl aya::Pod for super::Set<V6> {}
}
