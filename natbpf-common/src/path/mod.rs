//! The path of a packet through the kernel: how it is known again where it leaves, and which packets may be repeated.

pub mod cell;
pub mod family;
pub mod frame;
pub mod handover;
pub mod key;
pub mod passage;
pub mod plain;
pub mod repeat;
pub mod reserved;
pub mod set;
pub mod sums;
