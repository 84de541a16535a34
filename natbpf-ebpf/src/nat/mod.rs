//! Translation at an uplink, a story each.

pub mod arp;
pub mod egress;
pub mod fragment;
pub mod hairpin;
pub mod host;
pub mod icmp;
pub mod inbound;
pub mod ingress;
pub mod stranger;
pub mod target;
