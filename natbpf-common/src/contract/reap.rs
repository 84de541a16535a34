//! The request that user space gives to the reaper program, as the packet of a `BPF_PROG_TEST_RUN`.
//!
//! ```text
//! 0..14   zeros: a packet has its Ethernet header here
//! 14      operation, an [`Operation`]
//! 15      number of keys, up to [`Operation::max_keys`]
//! 16..    keys: to reap, a `FlowKey` each, 16 bytes; to end flows, a `Seen`, 32; to unmap, an `Endpoint` and 4 zeros
//! ```
//!
//! Keys are a [`FlowKey`], [`Seen`] or an [`Endpoint`](crate::nat::mapping::Endpoint). The program returns how many
//! keys it acted on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    flow::{FlowEntry, FlowKey},
    interface::IfIndex,
    time::Moment,
};

/// Bytes of all keys of a request: with the header they fit the page that a test run offers.
pub const MAX_BYTES: usize = 3200;

/// Offset of the operation.
pub const OPERATION: usize = 14;

/// Offset of the number of keys.
pub const COUNT: usize = 15;

/// Offset of the first key.
pub const KEYS: usize = 16;

/// What to do with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Mark flows that have expired, remove those marked long enough ago.
    Reap = 0,
    /// End flows now, as they were seen; a later packet of their instance gets a new translation.
    Kill = 1,
    /// Remove external endpoints that no flow uses any more.
    Unmap = 2,
}

impl Operation {
    /// Bytes that each key takes.
    pub const fn key_size(self) -> usize {
        match self {
            Self::Reap | Self::Unmap => size_of::<FlowKey>(),
            Self::Kill => size_of::<Seen>(),
        }
    }

    /// Keys that one request has room for.
    pub const fn max_keys(self) -> usize {
        MAX_BYTES / self.key_size()
    }
}

/// A flow as user space has seen it.
///
/// Between the look and the request a packet may give it a new translation. The reaper leaves it alone then: what was
/// found of the old one need not be true of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Seen {
    /// In the flow table.
    pub key: FlowKey,
    /// A [`Rewrite`](crate::flow::Rewrite), as a word.
    pub rewrite: u64,
    /// When it began.
    pub created: Moment,
    /// The interface that it leaves by.
    pub uplink: IfIndex,
}

impl Seen {
    /// By its entry.
    pub const fn new(key: FlowKey, entry: &FlowEntry) -> Self {
        Self { key, rewrite: entry.rewrite, created: entry.created, uplink: entry.uplink }
    }
}
