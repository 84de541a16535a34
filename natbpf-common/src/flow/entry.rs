//! The value of the flow table.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Rewrite;
use crate::{interface::IfIndex, time::Moment, wire::Port};

/// What stays true of a flow while it has its translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Traits(u16);

bitflags! {
    impl Traits: u16 {
        /// The flow counts among those that its source has begun.
        const COUNTED = 1;
        /// The flow counts among the users of a peer of its mapping ([`Side::Peer`](crate::nat::mapping::Side::Peer)).
        const PEERED = 2;
        /// The external address is not one of the uplink's own: user space ends the flow when the address goes.
        const FOREIGN_ADDRESS = 4;
        /// Packets from outside do not renew the flow (RFC 4787 REQ-6).
        const OUTBOUND_REFRESH = 8;
        /// The flow is not translated: it began outside, toward the instance's own address.
        const UNTRANSLATED = 16;
        /// The flow counts among those that strangers have begun to its source.
        const COUNTED_INBOUND = 32;
        /// The flow counts in one of these two accounts.
        const COUNTED_ANYWHERE = Self::COUNTED.bits() | Self::COUNTED_INBOUND.bits();
    }
}

/// Value of the flow table, 32 bytes: half a cache line.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEntry {
    /// A [`Life`](crate::flow::life::Life), as a word.
    pub life: u64,
    /// The [`Rewrite`] of this direction, as a word.
    pub rewrite: u64,
    /// When the flow began.
    pub created: Moment,
    /// Interface index of the uplink that the flow leaves by.
    pub uplink: IfIndex,
    /// A [`Status`](super::Status), as a word.
    pub status: u16,
    /// Never changed while the flow has this translation.
    pub traits: Traits,
    /// The outside's port after translation, if that port is translated, too; else zero. It is translated where a
    /// stranger uses one port toward two forwards of one inside endpoint, which could not tell the two flows apart.
    pub outside_port: Port,
    /// Zero.
    pub reserved: u16,
}

impl FlowEntry {
    /// The whole rewrite of its direction, with the outside's port.
    pub const fn rewrite(&self) -> Rewrite {
        Rewrite { outside_port: self.outside_port, ..Rewrite::from_word(self.rewrite) }
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::FlowEntry {}
}
