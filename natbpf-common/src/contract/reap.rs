//! The request that user space gives to the reaper program, as the packet of a `BPF_PROG_TEST_RUN`.
//!
//! ```text
//! 0..8    to end flows: only those that began up to this time, nanoseconds of the datapath's clock, native order
//! 8..14   zeros; a packet has its Ethernet header until here
//! 14      operation, an [`Operation`]
//! 15      number of keys, up to [`MAX_KEYS`]
//! 16..    keys, 16 bytes each: a `FlowKey`, or to unmap an `Endpoint` and 4 zeros
//! ```
//!
//! Keys are a [`FlowKey`](crate::flow::FlowKey) or an [`Endpoint`](crate::nat::mapping::Endpoint). The program returns
//! how many keys it acted on.

/// Keys in one request: with the header they fit the page that a test run offers.
pub const MAX_KEYS: usize = 200;

/// Offset of the time up to which flows that are ended have begun.
pub const BEFORE: usize = 0;

/// Offset of the operation.
pub const OPERATION: usize = 14;

/// Offset of the number of keys.
pub const COUNT: usize = 15;

/// Offset of the first key.
pub const KEYS: usize = 16;

/// Bytes of a key.
pub const KEY_SIZE: usize = 16;

/// What to do with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Mark flows that have expired, remove those marked long enough ago.
    Reap = 0,
    /// End flows now; a later packet of their instance gets a new translation. A flow that has got a new one after user
    /// space looked, at the time that the request names, is left alone.
    Kill = 1,
    /// Remove external endpoints that no flow uses any more.
    Unmap = 2,
}
