//! Packets on their way through the kernel: what one looked like where it came in, for the program at the hook where it
//! leaves.
//!
//! Where a packet comes in, a [`Passage`] is written into a slot of a small table, and the slot's number into
//! `skb->tc_index` ([`Mark`]), which stays with the buffer through bridges, veth pairs, other
//! network namespaces and Open vSwitch. Where a packet leaves, the number names a slot. The number alone proves
//! nothing: a slot counts only for the very packet that it was written for. So a number that is old, wrong or forged
//! leads to nothing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::key::PathKey;
use crate::wire::{
    family::{Family, V4},
    headers::Headers,
    protocol::{ESP, GRE, SCTP, TCP, UDP},
};

/// Slots of the table. As many packets can be on their way at once; one whose slot was taken by a later one teaches
/// nothing.
pub const SLOTS: u32 = 1 << 15;

/// A packet where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Passage<F: Family = V4> {
    /// Number of the claim, which is written last; 0: it is being written.
    pub claim: u64,
    /// How often it has left since: by a bridge that floods, or a mirror, more than once.
    pub left: u64,
    /// The packet's edge and tuple.
    pub key: PathKey<F>,
    /// [`Frame::fingerprint`](super::frame::Frame::fingerprint) of its frame.
    pub frame: u64,
    /// What else of the packet is compared.
    pub contents: Contents,
    /// The epoch when it came in: what has changed since may have changed its path.
    pub epoch: u32,
    /// The last four bytes of the MAC address that it came from, as they stand there.
    pub from: u32,
}

/// What nothing that is repeated changes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Contents {
    /// With TCP: sequence and acknowledgement number, and the word of flags and window; of an ICMP query code and
    /// sequence number, and the first bytes behind its header; else the first bytes behind the transport header, or 0.
    /// As they stand there.
    pub first: [u32; 3],
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// IPv4: identification and flags, as they stand there. IPv6: the flow label.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of service, or traffic class: DSCP and ECN.
    pub service: u8,
    /// Time to live, or hop limit; where the packet leaves it may be less.
    pub time_to_live: u8,
    /// Length of a TCP segment's header.
    pub tcp_header: u8,
}

/// What natbpf writes into `skb->tc_index`, which stays with the buffer through the stack and into other network
/// namespaces. Any value there may come from another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u16);

impl Mark {
    /// The packet was not seen where it came in.
    pub const NONE: Self = Self(0);

    /// What is known of the packet stands in this slot.
    #[inline(always)]
    pub const fn of_slot(slot: u32) -> Self {
        Self(slot as u16 + 1)
    }

    /// Any value of `skb->tc_index`.
    #[inline(always)]
    pub const fn from_tc_index(index: u16) -> Self {
        Self(index)
    }

    /// The value for `skb->tc_index`: 0, or the slot's number plus 1.
    #[inline(always)]
    pub const fn to_tc_index(self) -> u16 {
        self.0
    }

    /// Whether it is [`Mark::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The slot, 0 to [`SLOTS`]; `None`: it names none.
    #[inline(always)]
    pub const fn slot(self) -> Option<u32> {
        if self.0 == 0 || self.0 as u32 > SLOTS { None } else { Some(self.0 as u32 - 1) }
    }
}

impl Contents {
    /// How many routers a packet has passed that looked like this where it came in, and like that where it left.
    /// `None`: more is different, or it is another one.
    #[inline(always)]
    pub fn hops(&self, left: &Self) -> Option<u8> {
        let hops = self.time_to_live.wrapping_sub(left.time_to_live);
        let same = Self { time_to_live: self.time_to_live, ..*left };
        if same == *self && left.time_to_live != 0 && hops < self.time_to_live { Some(hops) } else { None }
    }
}

/// The slot of a claim.
#[inline(always)]
pub const fn slot_of(claim: u64) -> u32 {
    claim as u32 & (SLOTS - 1)
}

/// Whether packets of a protocol can be repeated when their addresses change: their checksums are known, or cover no
/// addresses.
#[inline(always)]
pub const fn can_be_translated<F: Family>(headers: &Headers<F>) -> bool {
    let protocol = headers.protocol;
    matches!(protocol, TCP | UDP | GRE | ESP | SCTP) || protocol == F::ICMP
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, as long as all its fields, any bytes are valid.
    unsafe impl aya::Pod for super::Passage {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents() -> impl Strategy<Value = Contents> {
        (any::<[u32; 3]>(), any::<u32>(), any::<u32>(), any::<[u8; 4]>()).prop_map(
            |(first, length, identification, [protocol, service, time_to_live, tcp_header])| Contents {
                first,
                length,
                identification,
                protocol,
                service,
                time_to_live,
                tcp_header,
            },
        )
    }

    #[test]
    fn numbers_name_their_slot() {
        for claim in [0, 1, u64::from(SLOTS) - 1, u64::from(SLOTS), u64::MAX] {
            let slot = slot_of(claim);
            assert!(slot < SLOTS);
            assert_eq!(Mark::from_tc_index(Mark::of_slot(slot).to_tc_index()).slot(), Some(slot));
        }
        for index in [0, SLOTS as u16 + 1, u16::MAX] {
            assert_eq!(Mark::from_tc_index(index).slot(), None);
        }
    }

    proptest! {
        #[test]
        fn routers_take_from_the_time_to_live(before in contents(), hops: u8) {
            let left = Contents { time_to_live: before.time_to_live.wrapping_sub(hops), ..before };
            let expected = (hops < before.time_to_live).then_some(hops);
            prop_assert_eq!(before.hops(&left), expected);
        }

        #[test]
        fn anything_else_that_has_changed_is_seen(before in contents(), bit in 0..184usize) {
            // All but the time to live, which is the byte before the last.
            let mut left = before;
            match bit / 32 {
                word @ 0..3 => left.first[word] ^= 1 << (bit % 32),
                3 => left.length ^= 1 << (bit % 32),
                4 => left.identification ^= 1 << (bit % 32),
                _ => match bit / 8 {
                    20 => left.protocol ^= 1 << (bit % 8),
                    21 => left.service ^= 1 << (bit % 8),
                    _ => left.tcp_header ^= 1 << (bit % 8),
                },
            }
            prop_assert_eq!(before.hops(&left), None);
        }
    }
}
