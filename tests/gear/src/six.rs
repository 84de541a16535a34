//! IPv6: every node of a lab has an address that is its IPv4 address behind the prefix of its network, so one workload
//! is both families'.

use natbpf_common::wire::{Address, Address6};

/// Bytes of a generated frame of IPv6: with as much payload as one of IPv4.
pub const FRAME6: usize = crate::FRAME + 20;

/// Unique local addresses (RFC 4193), where 10.0.0.0/8 is.
const INSIDE: u32 = 0xfd00_0000;

/// 2001:2::/48 is set aside for benchmarks (RFC 5180, section 8), as 198.18.0.0/15 is.
const DESTINATIONS: u32 = 0x2001_0002;

/// Of 2001:db8::/32, which is for documentation (RFC 3849).
const OUTSIDE: u32 = 0x2001_0db8;

/// The IPv6 address of a node, by its IPv4 address.
#[inline(always)]
pub const fn six(address: Address) -> Address6 {
    let prefix = match address.to_wire().to_ne_bytes() {
        [10, ..] => INSIDE,
        [198, 18 | 19, ..] => DESTINATIONS,
        _ => OUTSIDE,
    };
    Address6::from_wire([prefix.to_be(), 0, 0, address.to_wire()])
}

/// The IPv4 address of the node that has this address. `None`: no node has it.
#[inline(always)]
pub const fn four(address: Address6) -> Option<Address> {
    let words = address.to_wire();
    let four = Address::from_wire(words[3]);
    if words[1] == 0 && words[2] == 0 && words[0] == six(four).to_wire()[0] { Some(four) } else { None }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn both_addresses_of_a_node_lead_to_each_other() -> Result<(), std::net::AddrParseError> {
        for (short, long) in [
            ("10.0.0.16", "fd00::10.0.0.16"),
            ("198.18.0.1", "2001:2::198.18.0.1"),
            ("198.19.255.255", "2001:2::198.19.255.255"),
            ("203.0.113.1", "2001:db8::203.0.113.1"),
        ] {
            let (short, long): (Ipv4Addr, Ipv6Addr) = (short.parse()?, long.parse()?);
            assert_eq!(Ipv6Addr::from(six(short.into())), long);
            assert_eq!(four(long.into()).map(Ipv4Addr::from), Some(short));
        }
        for nobody in ["fe80::1", "2001:db8::10.0.0.16", "fd00:0:0:1::10.0.0.16", "fd00::1:0:10.0.0.16"] {
            assert_eq!(four(nobody.parse::<Ipv6Addr>()?.into()), None, "{nobody}");
        }
        Ok(())
    }
}
