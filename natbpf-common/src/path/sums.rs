//! What changes of addresses and ports make of checksums, ready to be added (RFC 1624, equation 3).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::checksum::fold;

/// Differences of one's complement sums, each of 16 bits over native words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sums {
    /// Of the addresses: for the header of IPv4, and the pseudo header of the transport.
    pub addresses: u16,
    /// Of the ports.
    pub ports: u16,
}

/// The difference that makes `new` of `old`: `~m + m'`.
#[inline(always)]
pub const fn difference(old: &[u32], new: &[u32]) -> u16 {
    let (mut sum, mut at) = (0u64, 0);
    while at < old.len() && at < new.len() {
        sum += (!old[at]) as u64 + new[at] as u64;
        at += 1;
    }
    // Halves of a word are digits of one number, and 2^16 counts as 1.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    fold(((sum >> 16) + (sum & 0xffff)) as u32)
}

/// A checksum after a change: `~(~HC + difference)`.
#[inline(always)]
pub const fn replaced(checksum: u16, difference: u16) -> u16 {
    !fold((!checksum) as u32 + difference as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071 has it: of all words, from the beginning.
    fn checksum(words: &[u32]) -> u16 {
        let sum = words.iter().fold(0u64, |sum, word| sum + u64::from(word & 0xffff) + u64::from(word >> 16));
        let sum = (sum & 0xffff) + (sum >> 16);
        !fold(((sum & 0xffff) + (sum >> 16)) as u32)
    }

    proptest! {
        #[test]
        fn a_changed_checksum_is_that_of_what_is_there(rest: [u32; 4], old: [u32; 8], new: [u32; 8]) {
            // A header is never all zeros, of which there are two checksums.
            prop_assume!(rest != [0; 4]);
            let all = |changed: &[u32; 8]| checksum(&[&rest[..], &changed[..]].concat());
            prop_assert_eq!(replaced(all(&old), difference(&old, &new)), all(&new));
        }

        #[test]
        fn differences_add_up(rest: [u32; 4], old: [u32; 2], new: [u32; 2]) {
            prop_assume!(rest != [0; 4]);
            let whole = difference(&old, &new);
            let parts = [difference(&old[..1], &new[..1]), difference(&old[1..], &new[1..])];
            let sum = checksum(&rest);
            prop_assert_eq!(replaced(replaced(sum, parts[0]), parts[1]), replaced(sum, whole));
        }
    }
}
