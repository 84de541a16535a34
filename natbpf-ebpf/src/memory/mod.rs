//! Memory that other processors and user space share.

pub mod atomic;
pub mod gauges;
pub mod maps;
