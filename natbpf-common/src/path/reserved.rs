//! Traffic that is not repeated, because rules of the host have to see every packet of it: a bit for each protocol,
//! for each port of TCP and UDP, and for addresses, of each family. User space writes them; they are read where a path
//! would be noted, never where packets are repeated.
//!
//! ```text
//!   word   0      1 .. 4      5 .. 1028   1029 .. 2052   2053 .. 3076
//!        | kind | protocols | TCP ports | UDP ports    | addresses    | the same of IPv6
//! ```
//!
//! Addresses have bits by a hash: who shares one with another is left to the kernel, too.

use bitflags::bitflags;

use crate::wire::protocol::{TCP, UDP};

/// Words of a family.
pub const WORDS: u32 = ADDRESSES + PORTS;

/// Words of the map: those of IPv4, then those of IPv6.
pub const ALL_WORDS: u32 = 2 * WORDS;

/// Those of one protocol's ports, and of addresses.
const PORTS: u32 = (1 << 16) / 64;

const PROTOCOLS: u32 = 1;
const TCP_PORTS: u32 = PROTOCOLS + 4;
const UDP_PORTS: u32 = TCP_PORTS + PORTS;
const ADDRESSES: u32 = UDP_PORTS + PORTS;

/// What the first word of a family says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind(u64);

bitflags! {
    impl Kind: u64 {
        /// There are bits in the other words.
        const SOME = 1;
        /// Nothing is repeated.
        const ALL = 2;
    }
}

/// Where a bit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    /// Index of a word of the family.
    pub word: u32,
    /// The bit in it.
    pub mask: u64,
}

/// The bit of a protocol as a whole.
#[inline(always)]
pub const fn protocol(protocol: u32) -> Bit {
    let protocol = protocol & 0xff;
    Bit { word: PROTOCOLS + protocol / 64, mask: 1 << (protocol % 64) }
}

/// The bit of a port of TCP, or else of UDP.
#[inline(always)]
pub const fn port(is_tcp: bool, port: u16) -> Bit {
    let first = if is_tcp { TCP_PORTS } else { UDP_PORTS };
    Bit { word: first + port as u32 / 64, mask: 1 << (port % 64) }
}

/// The bit of an address, given as one word in which each bit of it counts.
#[inline(always)]
pub const fn address(folded: u32) -> Bit {
    // Neighbours have bits far from each other (Knuth's multiplicative hash).
    let hash = folded.wrapping_mul(0x9e37_79b1) >> 16;
    Bit { word: ADDRESSES + hash / 64, mask: 1 << (hash % 64) }
}

/// Whether a protocol has ports that have bits of their own: whether it is TCP, if so.
#[inline(always)]
pub const fn has_ports(protocol: u32) -> Option<bool> {
    match protocol as u8 {
        TCP => Some(true),
        UDP => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_bit_of_its_own_and_none_is_in_the_first_word() {
        let ports =
            [true, false].into_iter().flat_map(|is_tcp| (0..=u16::MAX).map(move |at| port(is_tcp, at)));
        let all: Vec<Bit> = (0..256).map(protocol).chain(ports).collect();
        let places: BTreeSet<(u32, u64)> = all.iter().map(|bit| (bit.word, bit.mask)).collect();
        assert_eq!(places.len(), 256 + 2 * 65_536);
        assert!(all.iter().all(|bit| (1..WORDS).contains(&bit.word) && bit.mask.is_power_of_two()));
        assert_eq!(all.len() / 64 + 1, ADDRESSES as usize, "there is no room between");
    }

    #[test]
    fn addresses_have_bits_behind_those_and_neighbours_have_different_ones() {
        let network = u32::from_ne_bytes([10, 1, 2, 0]);
        let host = |number: u8| network | u32::from_ne_bytes([0, 0, 0, number]);
        let bits: Vec<Bit> = (0..=255).map(|number| address(host(number))).collect();
        let places: BTreeSet<(u32, u64)> = bits.iter().map(|bit| (bit.word, bit.mask)).collect();
        assert!(places.len() > 250, "{}", places.len());
        let all = bits.into_iter().chain([0, u32::MAX].map(address));
        assert!(
            all.into_iter().all(|bit| (ADDRESSES..WORDS).contains(&bit.word) && bit.mask.is_power_of_two())
        );
    }
}
