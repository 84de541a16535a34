//! The pure logic of natbpf, and the wire formats that its BPF programs and user space share.
//!
//! Everything here is `no_std`, allocates nothing and never panics on any input, so that the same code runs
//! in the kernel and in host tests. Addresses and ports are kept as they are in the packet: see [`Address`]
//! and [`Port`].
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod address;
pub mod arp;
pub mod checksum;
pub mod config;
pub mod counter;
pub mod crossing;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod handover;
pub mod headers;
pub mod keyed;
pub mod life;
pub mod mapping;
pub mod notice;
pub mod offload;
pub mod packet;
pub mod pending;

pub mod ports;
pub mod protocol;
pub mod quote;
pub mod reap;
pub mod siphash;
pub mod state;
pub mod tcp;
pub mod traffic;

pub use address::{Address, Port};

/// Nanoseconds of the monotonic clock, as of `bpf_ktime_get_coarse_ns` and `CLOCK_MONOTONIC_COARSE`.
pub type Nanoseconds = u64;

/// Nanoseconds in a second.
pub const SECOND: Nanoseconds = 1_000_000_000;

/// Number of the layout of everything that is pinned. A change to any shared type, or to the meaning of a
/// field, raises it.
pub const SCHEMA: u32 = 4;
