//! What the datapath and user space both read and write: the values of maps.

pub mod counter;
pub mod edges;
pub mod event;
pub mod follow;
pub mod forwards;
pub mod gauge;
pub mod notice;
pub mod reap;
pub mod rules;
pub mod settings;
pub mod trace;
pub mod uplinks;

/// Number of the layout of everything that is pinned. A change to any shared type, or to the meaning of a field, raises
/// it.
pub const SCHEMA: u32 = 5;
