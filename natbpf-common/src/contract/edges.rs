//! Edges: the devices by which packets of instances enter and leave the host.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An edge; the key of its map is the interface index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Edge {
    /// What is special about it.
    pub flags: EdgeFlags,
}

/// What is special about an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct EdgeFlags(u32);

bitflags! {
    impl EdgeFlags: u32 {
        /// One end of a veth pair whose other end is in another network namespace: packets go straight to that end.
        const PEER = 1;
        /// An uplink of natbpf's own NAT.
        const UPLINK = 2;
    }
}

/// How many edges there can be.
pub const MAX_EDGES: u32 = 4096;

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Edge {}
}
