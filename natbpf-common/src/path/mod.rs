//! The path of a packet through the kernel: how it is known again where it leaves, and which packets may be repeated.

pub mod crossing;
pub mod frame;
pub mod handover;
pub mod plain;
