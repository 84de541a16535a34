//! What a packet of a test run has beside its frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Fields of a socket buffer. A test run can give a packet the last two, and shows only those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Beside {
    /// `skb->tc_index`
    pub number: u32,
    /// VLAN tag: protocol as it stands in a frame (upper half), and TCI; 0: none.
    pub tag: u32,
    /// `skb->mark`
    pub mark: u32,
    /// `skb->priority`
    pub priority: u32,
}

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
unsafe impl aya::Pod for Beside {}
