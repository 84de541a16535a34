//! Inside ports: the devices behind which instances are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::offload::PortFlags;

/// An inside port; the key of its map is the interface index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InsidePort {
    /// What is special about it.
    pub flags: PortFlags,
}

/// How many inside ports there can be.
pub const MAX_PORTS: u32 = 4096;

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::InsidePort {}
}
