//! What translates in a lab's gateway, and what it is told to do.

pub mod flows;
pub mod nat;
pub mod natbpf;
pub mod rule;
pub mod setup;
