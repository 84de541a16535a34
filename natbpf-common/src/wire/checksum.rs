//! Internet checksum arithmetic (RFC 1071), and its incremental update (RFC 1624, equation 3).
//!
//! Sums are over native-endian words: the one's complement sum does not care about byte order as long as all
//! words share it.

use crate::wire::Address;

/// Folds a sum into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum after one 32-bit field has changed: `HC' = ~(~HC + ~m + m')`.
#[inline(always)]
pub const fn replace_word(checksum: u16, old: u32, new: u32) -> u16 {
    let sum = (!checksum) as u32 + (!old & 0xffff) + (!old >> 16) + (new & 0xffff) + (new >> 16);
    !fold(sum)
}

/// The checksum after one 16-bit field has changed.
#[inline(always)]
pub const fn replace_half(checksum: u16, old: u16, new: u16) -> u16 {
    !fold((!checksum) as u32 + (!old) as u32 + new as u32)
}

/// The IPv4 header checksum after one address has changed.
#[inline(always)]
pub const fn replace_address(checksum: u16, old: Address, new: Address) -> u16 {
    replace_word(checksum, old.to_wire(), new.to_wire())
}

/// Whether the checksum of an IPv4 header without options is right; its five words.
#[inline(always)]
pub const fn is_right(header: [u32; 5]) -> bool {
    let [a, b, c, d, e] = header;
    let sum = a as u64 + b as u64 + c as u64 + d as u64 + e as u64;
    // Halves of a word are digits of one number, and 2^16 counts as 1.
    let folded = (sum >> 32) as u32 as u64 + sum as u32 as u64;
    fold(((folded & 0xffff) + (folded >> 16)) as u32) == 0xffff
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use etherparse::{IpNumber, Ipv4Header};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_is_right_by_its_checksum_alone(
            source: [u8; 4], destination: [u8; 4], length in 0..1400u16, ttl: u8, id: u16, bit in 0..160usize,
        ) {
            let mut header = Ipv4Header::new(length, ttl, IpNumber::UDP, source, destination).unwrap();
            header.identification = id;
            header.header_checksum = header.calc_header_checksum();
            let words = |bytes: &[u8]| -> [u32; 5] {
                core::array::from_fn(|word| u32::from_ne_bytes(bytes[word * 4..word * 4 + 4].try_into().unwrap()))
            };
            let mut bytes = header.to_bytes();
            prop_assert!(is_right(words(&bytes)));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_right(words(&bytes)));
        }

        /// Against etherparse's full recomputation.
        #[test]
        fn an_ipv4_header_stays_valid(source: [u8; 4], destination: [u8; 4], new: [u8; 4], length in 0..1400u16, ttl: u8, id: u16) {
            let mut header = Ipv4Header::new(length, ttl, IpNumber::UDP, source, destination).unwrap();
            header.identification = id;
            let before = u16::from_ne_bytes(header.calc_header_checksum().to_be_bytes());
            header.source = new;
            let after = u16::from_ne_bytes(header.calc_header_checksum().to_be_bytes());
            let ours = replace_address(before, Address::from(Ipv4Addr::from(source)), Address::from(Ipv4Addr::from(new)));
            prop_assert_eq!(ours, after);
        }

        #[test]
        fn changing_and_changing_back_changes_nothing(checksum: u16, old: u32, new: u32) {
            let back = replace_word(replace_word(checksum, old, new), new, old);
            // One's complement has two zeros; both say the same.
            prop_assert!(back == checksum || (back == 0xffff && checksum == 0) || (back == 0 && checksum == 0xffff));
        }

        /// A word is two halves, in either order.
        #[test]
        fn a_half_is_half_a_word(checksum: u16, old: u16, new: u16) {
            prop_assert_eq!(replace_half(checksum, old, new), replace_word(checksum, old.into(), new.into()));
        }

        #[test]
        fn folding_keeps_the_residue(sum: u32) {
            prop_assert_eq!(u32::from(fold(sum)) % 0xffff, sum % 0xffff);
        }
    }
}
