//! Addresses in a lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use natbpf_common::Address;
use natbpf_gear::six;

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

/// The same machines by IPv6, where a topology has it.
pub const VM1_V6: Ipv6Addr = v6(VM1);
pub const VM2_V6: Ipv6Addr = v6(VM2);
pub const GATEWAY_INSIDE_V6: Ipv6Addr = v6(GATEWAY_INSIDE);
pub const GATEWAY_V6: Ipv6Addr = v6(GATEWAY);
pub const SERVER_V6: Ipv6Addr = v6(SERVER);

const fn v6(node: Ipv4Addr) -> Ipv6Addr {
    let words = six(Address::from_wire(u32::from_ne_bytes(node.octets()))).to_wire();
    let mut bits = 0;
    let mut place = 0;
    while place < words.len() {
        bits = bits << 32 | u32::from_be(words[place]) as u128;
        place += 1;
    }
    Ipv6Addr::from_bits(bits)
}

/// A version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4
    #[default]
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

impl Family {
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The address of a node, by its IPv4 address.
    pub const fn address(self, node: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(node),
            Self::V6 => IpAddr::V6(v6(node)),
        }
    }

    /// A network of the lab, by its IPv4 address and the length of the prefix.
    pub fn network(self, address: Ipv4Addr, length: u8) -> String {
        let before = match self {
            Self::V4 => 0,
            Self::V6 => 96,
        };
        format!("{}/{}", self.address(address), before + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_networks_of_both_families() {
        let inside = Ipv4Addr::new(10, 0, 0, 0);
        assert_eq!(Family::V4.network(inside, 24), INSIDE);
        assert_eq!(Family::V6.network(inside, 24), "fd00::a00:0/120");
        assert_eq!(Family::V4.address(GATEWAY).to_string(), "203.0.113.1");
        assert_eq!(Family::V6.address(GATEWAY).to_string(), "2001:db8::cb00:7101");
        assert_eq!(VM1_V6.to_string(), "fd00::a00:b");
    }
}
