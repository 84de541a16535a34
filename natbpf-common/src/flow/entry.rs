//! The value of the flow table.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Rewrite, offload::Offload};
use crate::{time::Moment, wire::Port};

/// Value of the flow table, 64 bytes: a cache line.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEntry {
    /// A [`Life`](crate::flow::life::Life).
    pub life: u64,
    /// A [`Rewrite`].
    pub rewrite: u64,
    /// When the flow began.
    pub created: Moment,
    /// Interface index of the uplink that the flow leaves by.
    pub uplink: u32,
    /// A [`Status`](super::Status).
    pub status: u16,
    /// Of [`FlowEntry::COUNTED`] and its like; never changed while the flow has this translation.
    pub traits: u16,
    /// The outside's port after translation, if that is translated, too; else zero. It is where a stranger uses one port toward two
    /// forwards of one inside endpoint, which could not tell the two flows apart.
    pub outside_port: Port,
    /// Tag (802.1Q) with which packets of this direction leave if they are repeated, host order; 0: none. Goes with `offload`.
    pub vlan: u16,
    pub offload: Offload,
}

impl FlowEntry {
    /// Counts among the flows of its source.
    pub const COUNTED: u16 = 1;
    /// Counts among the users of a peer of its mapping ([`Side::Peer`](crate::nat::mapping::Side::Peer)).
    pub const PEERED: u16 = 2;
    /// The external address is not one of the uplink's own: user space ends the flow when it goes.
    pub const FOREIGN_ADDRESS: u16 = 4;
    /// Packets from outside do not renew it.
    pub const OUTBOUND_REFRESH: u16 = 8;
    /// It is not translated: it began outside, toward the instance's own address.
    pub const UNTRANSLATED: u16 = 16;
    /// Counts among the flows that strangers have begun to its source.
    pub const COUNTED_INBOUND: u16 = 32;
    /// It counts, in either account.
    pub const COUNTED_ANYWHERE: u16 = Self::COUNTED | Self::COUNTED_INBOUND;

    /// The whole rewrite of its direction.
    pub const fn rewrite(&self) -> Rewrite {
        Rewrite { outside_port: self.outside_port, ..Rewrite::from_word(self.rewrite) }
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::FlowEntry {}
}
