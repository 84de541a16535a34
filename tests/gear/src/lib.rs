//! What the BPF programs of tests and benchmarks share with the labs that load them: the workload, what arrived of
//! it, the way of a redirect, and what is beside a frame.
#![cfg_attr(not(test), no_std)]

mod beside;
mod six;
mod way;
mod workload;

pub use beside::Beside;
pub use six::{FRAME6, four, six};
pub use way::Way;
pub use workload::{ALL_PORTS, FRAME, PORTS_PER_SOURCE, Received, Tuple, Workload};
