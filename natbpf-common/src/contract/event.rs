//! What `natbpf flows watch` is told about.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::FlowKey, time::Nanoseconds};

/// What happened to a flow; conntrack's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    New = 0,
    Update = 1,
    Destroy = 2,
}

/// One event, as it stands in the ring buffer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEvent {
    /// Key of the original direction.
    pub key: FlowKey,
    /// A [`Rewrite`](crate::flow::Rewrite).
    pub rewrite: u64,
    pub time: Nanoseconds,
    /// Interface index of the uplink.
    pub uplink: u32,
    /// A [`Status`](crate::flow::Status).
    pub status: u16,
    /// An [`EventKind`].
    pub kind: u16,
}

impl EventKind {
    /// The kind of a number.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::New),
            1 => Some(Self::Update),
            2 => Some(Self::Destroy),
            _ => None,
        }
    }
}
