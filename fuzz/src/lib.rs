//! The packet code of natbpf-common on any bytes: it must not panic, not look beyond the packet, and agree with
//! etherparse.
//!
//! Each module is a fuzz target; its `check` panics when something is not as it must be. `cargo xtask fuzz` runs them
//! under libFuzzer, the tests here on packets that are built and damaged.

mod input;
mod ports;
mod sums;

pub mod headers;
pub mod headers6;
pub mod quote;
pub mod translate;

/// How far a check came, so that tests can tell that they show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Not of the family, or cut short.
    Nothing,
    /// An IP packet with something wrong about it, or nothing that a NAT translates.
    Read,
    /// All invariants were looked at.
    Whole,
}

#[cfg(test)]
mod packets;
