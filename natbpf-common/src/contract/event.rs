//! What `natbpf flows watch` is told about.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::FlowKey, interface::IfIndex, time::Timestamp};

/// What happened to a flow; the names are those of conntrack's events (`conntrack -E`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// The flow has begun, or begins anew after its time was over or it was ended.
    New = 0,
    /// The flow's [`Status`](crate::flow::Status) has changed.
    Update = 1,
    /// The flow has been removed from the table.
    Destroy = 2,
}

/// One event, as it stands in the ring buffer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEvent {
    /// Key of the flow's original direction.
    pub key: FlowKey,
    /// The [`Rewrite`](crate::flow::Rewrite) of the original direction, as a word.
    pub rewrite: u64,
    /// When it happened, by the datapath's clock.
    pub time: Timestamp,
    /// Interface index of the uplink.
    pub uplink: IfIndex,
    /// A [`Status`](crate::flow::Status).
    pub status: u16,
    /// An [`EventKind`].
    pub kind: u16,
}

impl EventKind {
    /// The kind that has this number; `None`: there is no such kind.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::New),
            1 => Some(Self::Update),
            2 => Some(Self::Destroy),
            _ => None,
        }
    }
}
