//! The configuration, as user space writes it.

pub mod externals;
pub mod forwards;
pub mod pool;
pub mod rules;
pub mod uplink;
