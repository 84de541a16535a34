//! Memory that other processors and user space share.

pub mod gauges;
pub mod maps;
pub mod shared;
