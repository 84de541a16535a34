//! The pure logic of natbpf, and the wire formats that its BPF programs and user space share.
//!
//! Everything here is `no_std`, allocates nothing and never panics on any input, so that the same code runs
//! in the kernel and in host tests. Addresses and ports are kept as they are in the packet: see [`Address`]
//! and [`Port`].
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod contract;
pub mod flow;
pub mod interface;
pub mod keyed;
pub mod nat;
pub mod path;
pub mod siphash;
pub mod time;
pub mod wire;

pub use interface::IfIndex;
pub use time::{Nanoseconds, SECOND, Timestamp};
pub use wire::{Address, Port};
