//! What the BPF programs of tests and benchmarks share with the labs that load them: the workload, what arrived of
//! it, and the way of a redirect.
#![cfg_attr(not(test), no_std)]

mod way;
mod workload;

pub use way::Way;
pub use workload::{FRAME, Received, Tuple, Workload};
