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

/// A set. Its first line in memory says which of its cells a tuple may be in.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Set<F: Family = V4> {
    /// For each cell the upper half of its key's hash; 0: the cell is free.
    pub tags: [u32; WAYS],
    /// 1: a program is writing into the set.
    pub lock: u64,
    /// What would be paths if the next packet of their tuple confirms it, see [`candidate`]; 0: none. A flood of
    /// tuples drives out others that are as new, and no path.
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

/// Which cell of its set is the one to look at first for a hash: the path is there if that was free when it was noted.
/// Then nobody waits for the tags before the cell.
#[inline(always)]
pub const fn home_of(hash: u64) -> u64 {
    (hash >> 40) & (WAYS as u64 - 1)
}

/// What stands in [`Set::tags`] for a hash; never 0.
#[inline(always)]
pub const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// What stands in [`Set::candidates`] for the hash of a tuple, and that of its frame and of how it left; never 0.
#[inline(always)]
pub const fn candidate(hash: u64, outcome: u64) -> u64 {
    outcome << CANDIDATE_TAG_BITS | 1 << CANDIDATE_TAG_BITS | candidate_tag(hash)
}

/// The part of a [`candidate`] that is the tuple's alone: there is one candidate of a tuple.
#[inline(always)]
pub const fn candidate_tag(hash: u64) -> u64 {
    hash >> (u64::BITS - CANDIDATE_TAG_BITS)
}

/// Whether a word of [`Set::candidates`] has this tag; one that is none may have it, too.
#[inline(always)]
pub const fn has_tag(candidate: u64, tag: u64) -> bool {
    (candidate ^ tag) << (u64::BITS - CANDIDATE_TAG_BITS) == 0
}

const CANDIDATE_TAG_BITS: u32 = 16;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_candidate_has_the_tag_of_its_tuple_and_is_for_one_outcome(hash: u64, outcome: u64, bit in 1..48u32, other in 0..16u32) {
            let word = candidate(hash, outcome);
            prop_assert!(word != 0 && has_tag(word, candidate_tag(hash)));
            prop_assert_ne!(word, candidate(hash, outcome ^ 1 << bit));
            prop_assert!(!has_tag(word, candidate_tag(hash ^ 1 << (48 + other))));
        }
    }
}
