//! What is special to translation: ports, mappings, fragments, flows that begin outside.

pub mod fragment;
pub mod mapping;
pub mod pending;
pub mod ports;
