//! What one program tells the next one that sees the same packet: that the packet was redirected, and why.
//!
//! A redirect to a device's egress runs the program there at once, on the same processor, before anything
//! else of natbpf runs there. So the message is in a word of this processor, never in the packet, where
//! others could write it, too. The packet's addresses are part of the message: if the kernel drops the packet
//! in between, the message must mean nothing for the next packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{interface::IfIndex, wire::Address};

/// A packet that is on its way from one program to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Handover {
    /// Interface index of the device whose egress comes next (lower half), and a [`Purpose`]; 0: there is none.
    pub to: u64,
    /// Source and destination of the packet, as they stand in it one after the other.
    pub addresses: u64,
}

/// Why a packet was redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// The packet is as it has to be, and goes on.
    Repeated = 1,
    /// The packet is to be translated as if it left, then as if it came, and goes inside.
    Turning = 2,
}

impl Handover {
    /// For a packet with these addresses that is redirected to the egress of the device with this index.
    #[inline(always)]
    pub const fn new(interface: IfIndex, purpose: Purpose, source: Address, destination: Address) -> Self {
        let (source, destination) = (source.to_wire() as u64, destination.to_wire() as u64);
        let addresses = if cfg!(target_endian = "little") {
            source | destination << 32
        } else {
            source << 32 | destination
        };
        Self { to: interface.number() as u64 | (purpose as u64) << 32, addresses }
    }

    /// What is said at the egress of a device about a packet, whose addresses are as in
    /// [`Handover::addresses`]; `None`: nothing.
    #[inline(always)]
    pub const fn purpose(self, interface: IfIndex, addresses: u64) -> Option<Purpose> {
        if self.to as u32 != interface.number() || self.addresses != addresses {
            return None;
        }
        match (self.to >> 32) as u32 {
            1 => Some(Purpose::Repeated),
            2 => Some(Purpose::Turning),
            _ => None,
        }
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Handover {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_the_packet_that_was_meant_is_told(interface in 1..u32::MAX, source: [u8; 4], destination: [u8; 4], bit in 0..96u32) {
            let addresses = |source: [u8; 4], destination: [u8; 4]| {
                u64::from_ne_bytes([source, destination].concat().try_into().unwrap())
            };
            let (from, to) = (u32::from_ne_bytes(source), u32::from_ne_bytes(destination));
            for purpose in [Purpose::Repeated, Purpose::Turning] {
                let handover = Handover::new(IfIndex::new(interface), purpose, Address::from_wire(from), Address::from_wire(to));
                prop_assert_eq!(handover.purpose(IfIndex::new(interface), addresses(source, destination)), Some(purpose));
                let (mut other, mut at) = (addresses(source, destination), interface);
                if bit < 64 { other ^= 1 << bit } else { at ^= 1 << (bit - 64) }
                prop_assert_eq!(handover.purpose(IfIndex::new(at), other), None);
            }
        }
    }

    #[test]
    fn nothing_is_said_to_anybody() {
        assert_eq!(Handover::default().purpose(IfIndex::new(0), 0), None);
        assert_eq!(Handover::default().purpose(IfIndex::new(1), 0), None);
    }
}
