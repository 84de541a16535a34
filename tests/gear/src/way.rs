//! Where the bare redirects send everything.

use natbpf_common::IfIndex;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a program that forwards everything sends it; the only value of its map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Way {
    /// Index of the device.
    pub interface: IfIndex,
    /// Destination and source of the Ethernet header, two bytes as they are in the packet in each.
    pub ethernet: [u16; 6],
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Way {}
}
