//! Addresses in a lab.

use std::net::Ipv4Addr;

/// The masqueraded network.
pub const INSIDE: &str = "10.0.0.0/24";
pub const VM1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
pub const VM2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
pub const GATEWAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The gateway's address on the uplink, which is all that the outside may see.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// A second address of the same server.
pub const SERVER2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 12);
