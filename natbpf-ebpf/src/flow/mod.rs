//! The flow engine: it begins flows, keeps them alive and takes them out, and knows no packet.

pub mod allocate;
pub mod create;
pub mod early;
pub mod enter;
pub mod entry;
pub mod hold;
pub mod mapping;
pub mod pending;
pub mod pulse;
pub mod reap;
pub mod refusal;
