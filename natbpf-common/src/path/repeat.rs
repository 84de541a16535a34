//! What holds for all paths.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::family::PathKeys;
use crate::time::Nanoseconds;

/// The only value of its map, which user space writes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Repeat {
    /// Sets of the table of IPv4, a power of two.
    pub sets: u32,
    /// Sets of the table of IPv6, a power of two.
    pub sets6: u32,
    /// How long a path holds at most.
    pub revalidate: Nanoseconds,
    /// Secret numbers, made once for a pinned instance.
    pub keys: PathKeys,
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Repeat {}
}
