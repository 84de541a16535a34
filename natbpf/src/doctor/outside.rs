//! Who is asked for outside, in questions of what becomes of a packet.

use std::net::Ipv4Addr;

/// Both of nobody (RFC 5737): rules that are for one network outside are not for both.
pub const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1)];
