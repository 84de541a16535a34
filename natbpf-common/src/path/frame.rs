//! Frames, by which packets that come in are told apart.

use crate::{interface::IfIndex, keyed::Keys};

/// What a frame is known by when it comes in: a noted path is for packets in such frames alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of the interface by which it comes in.
    pub interface: IfIndex,
    /// The first twelve bytes, destination and source, as three native words.
    pub ethernet: [u32; 3],
    /// Tag in the buffer's metadata: protocol and TCI; 0: none.
    pub vlan: u32,
    /// Type of service of the IPv4 header. Routes and rules may depend on DSCP; ECN is the network's, and
    /// changes on its path.
    pub service: u8,
    /// A rule may set it instead of counting it down: what one packet left with says nothing of another's.
    pub time_to_live: u8,
}

/// The bits of the type of service that are not ECN (RFC 3168, section 5).
const DSCP: u8 = 0xfc;

impl Frame {
    /// A keyed hash, see [`Keys`]. The source counts, too: another source is another machine.
    /// Rows B06, B09, B10.
    #[inline(always)]
    pub const fn fingerprint(&self, keys: &Keys) -> u64 {
        let [first, second, third] = self.ethernet;
        let header = (self.service & DSCP) as u32 | (self.time_to_live as u32) << 8;
        keys.hash(&[first, second, third, self.interface.number(), self.vlan, header])
    }
}

/// Whether the first word of a frame begins the address of a group (IEEE 802.3, section 3.2.3): it may be for
/// many. Rows F07, B05.
#[inline(always)]
pub const fn is_group(ethernet: u32) -> bool {
    ethernet.to_ne_bytes()[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_part_of_a_frame_counts(interface: u32, ethernet: [u32; 3], vlan: u32, service: u8, time_to_live: u8, bit in 0..176u32, secret: [u8; Keys::BYTES]) {
            let keys: Keys = zerocopy::transmute!(secret);
            let frame = Frame { interface: IfIndex::new(interface), ethernet, vlan, service, time_to_live };
            let mut other = frame;
            match bit / 32 {
                0 => other.interface = IfIndex::new(interface ^ 1 << bit),
                1 => other.vlan ^= 1 << (bit % 32),
                5 if bit < 168 => other.service ^= 1 << (bit % 8),
                5 => other.time_to_live ^= 1 << (bit % 8),
                n => other.ethernet[n as usize - 2] ^= 1 << (bit % 32),
            }
            let ecn = (160..162).contains(&bit);
            prop_assert_eq!(frame.fingerprint(&keys) == other.fingerprint(&keys), ecn);
        }
    }

    #[test]
    fn groups_have_the_first_bit() {
        let word = |bytes| u32::from_ne_bytes(bytes);
        assert!(
            is_group(word([0xff, 0xff, 0xff, 0xff]))
                && is_group(word([1, 0, 0x5e, 0]))
                && is_group(word([0x33, 0x33, 0, 0]))
        );
        assert!(!is_group(word([2, 0xff, 0xff, 0xff])) && !is_group(0));
    }
}
