//! Packets on their way through the kernel: what one looked like where it came in, for the program at the
//! hook where it leaves.
//!
//! Where a packet comes in, a [`Crossing`] is written into a slot of a small table, and the slot's number
//! into `skb->tc_index`, which stays with the buffer through bridge and stack. Where a packet leaves, the
//! number names a slot. The number alone proves nothing: a slot counts only for the very packet that it was
//! written for, compared in full, and once. So a number that is old, wrong or forged (a program with
//! `CAP_NET_ADMIN` in a network namespace can set `tc_index`) leads to nothing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::FlowKey, interface::IfIndex, wire::headers::Headers};

/// Slots of the table. As many packets can be on their way at once; one whose slot was taken by a later one
/// teaches nothing.
pub const SLOTS: u32 = 4096;

/// A packet where it came in. 56 bytes without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Crossing {
    /// Number of the claim, which is written last; 0: it is being written, or has been read.
    pub claim: u64,
    /// The packet's tuple, and with it the direction.
    pub key: FlowKey,
    /// [`Frame::fingerprint`](crate::path::frame::Frame::fingerprint) of its frame.
    pub frame: u64,
    /// What else of the packet is compared.
    pub contents: Contents,
    /// Index of the interface by which it came in.
    pub interface: IfIndex,
    /// [`Gauge::Epoch`](crate::contract::gauge::Gauge::Epoch) when it came in: what has changed since may
    /// have changed its path.
    pub epoch: u32,
}

/// What no translation changes of a packet that goes on as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Contents {
    /// With TCP: sequence and acknowledgement number; else the first bytes of the payload, or 0. As they stand there.
    pub first: [u32; 2],
    /// Length of the IPv4 packet in bytes.
    pub length: u32,
    /// Identification of the IPv4 header, as it stands there.
    pub identification: u16,
    /// Type of service: DSCP and ECN.
    pub service: u8,
    /// As it is where the packet leaves: one less than where it came in.
    pub time_to_live: u8,
}

impl Contents {
    /// From a packet's headers. `hops` is what routing will still take from the time to live.
    #[inline(always)]
    pub const fn of(headers: &Headers, first: [u32; 2], hops: u8) -> Self {
        Self {
            first,
            length: headers.transport - headers.network + headers.payload,
            identification: headers.identification,
            service: headers.service,
            time_to_live: headers.time_to_live.wrapping_sub(hops),
        }
    }
}

/// The slot of a claim.
#[inline(always)]
pub const fn slot(claim: u64) -> u32 {
    claim as u32 & (SLOTS - 1)
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

const _: () = assert!(size_of::<Crossing>() == 56 && SLOTS.is_power_of_two());

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Crossing {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_their_slot() {
        for claim in [0, 1, u64::from(SLOTS) - 1, u64::from(SLOTS), u64::MAX] {
            let slot = slot(claim);
            assert!(slot < SLOTS);
            assert_eq!(Mark::from_tc_index(Mark::of_slot(slot).to_tc_index()).slot(), Some(slot));
        }
        for index in [0, SLOTS as u16 + 1, u16::MAX] {
            assert_eq!(Mark::from_tc_index(index).slot(), None);
        }
    }
}
