//! Hosts that other software has made: real engines of containers, hypervisors and clouds from Debian's packages, each
//! in a [`pod::Pod`], with instances on one side and an outside on the other.
//!
//! `cargo xtask hosts` builds them, lets `natbpf accelerate` find its way there without configuration, and compares
//! what works before, with and after it. Benchmarks take them as topologies.

mod alarms;
mod ban;
mod check;
mod complaints;
mod connection;
mod containers;
mod datagrams;
mod followed;
mod guest;
mod host;
mod kernel;
mod kubernetes;
mod libvirt;
mod migration;
mod name;
mod neutron;
mod openvswitch;
mod outside;
mod passed;
pub mod pod;
mod repeated;
mod report;
mod root;
mod router;
mod rules;
mod run;
mod streams;
mod way;

pub use host::Host;
pub use name::Name;
pub use run::{Options, run};
pub use way::Way;
