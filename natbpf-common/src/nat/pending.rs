//! Flows that somebody outside would begin: nothing is known of them but their first packets.
//!
//! A host that can send to an external address can make up any number of these. A flow counts only when the
//! kernel has let its packet through and the inside has answered (with TCP: when the stranger has answered
//! that, too). Until then it is remembered in a table of its own, whose oldest entries give way to new ones:
//! it takes no room in the flow table, and counts for no source.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    contract::rules::RuleFlags,
    flow::{FlowKey, Traits},
    interface::IfIndex,
    time::{Nanoseconds, Timestamp},
    wire::Port,
};

/// How many such flows are remembered.
pub const MAX_PENDING: usize = 1 << 16;

/// How long natbpf waits for an answer (`UDP_CT_UNREPLIED` of conntrack).
pub const LIFETIME: Nanoseconds = Nanoseconds::seconds(30);

/// What is remembered of such a flow; the key is the [`FlowKey`] of its original direction, that of the answers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pending {
    /// When the last packet was seen, by the datapath's clock.
    pub seen: Timestamp,
    /// A [`Rewrite`](crate::flow::Rewrite), as a word: the external endpoint that was asked.
    pub rewrite: u64,
    /// Interface index of the uplink that it was asked by.
    pub uplink: IfIndex,
    /// The flags of the rule by whose mapping it was let in.
    pub flags: RuleFlags,
    /// A [`Status`](crate::flow::Status), as a word.
    pub status: u16,
    /// [`FlowEntry::traits`](crate::flow::FlowEntry::traits) of the flow.
    pub traits: Traits,
    /// The stranger's port, if the inside sees another one; else zero.
    pub outside_port: Port,
    /// 1: it was let in by a mapping.
    pub by_mapping: u16,
    /// With TCP: the number by which the stranger acknowledges the inside's SYN, host order. 0: none is waited for.
    pub expected: u32,
    /// Zero.
    pub reserved: u32,
}

/// The number by which a SYN/ACK with this sequence number is acknowledged, as [`Pending::expected`]. Both are in host
/// order.
#[inline(always)]
pub const fn expect(sequence: u32) -> u32 {
    let next = sequence.wrapping_add(1);
    if next == 0 { 1 } else { next }
}

/// Whether a segment with this acknowledgement number (host order) comes from a host that has seen the
/// inside's SYN/ACK, or data right behind it: a sender with a forged address sees neither.
#[inline(always)]
pub const fn acknowledges(expected: u32, number: u32) -> bool {
    /// A TCP without window scaling sends no more before it is acknowledged.
    const WINDOW: u32 = 1 << 16;
    expected == 0 || number.wrapping_sub(expected) < WINDOW
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Pending {}
}

/// How many ports a stranger's packet is tried with before the packet is given up, its own port included.
pub const OUTSIDE_PORTS: u32 = 4;

/// The port under which the inside sees a stranger. Attempt 0 is the stranger's own port. The ports of the later ones
/// depend on the external endpoint that is asked, so that the same question always gets the same ports.
#[inline(always)]
pub const fn outside_port(reply: &FlowKey, attempt: u32) -> Port {
    if attempt == 0 {
        return reply.source_port;
    }
    let seed = (reply.source_port.to_wire() as u32) << 16 | reply.destination_port.to_wire() as u32;
    let mixed = (seed ^ reply.destination.to_wire().rotate_left(7))
        .wrapping_add(attempt.wrapping_mul(0x9e37_79b9))
        .wrapping_mul(0x85eb_ca6b);
    Port::new(1024 + (((mixed ^ mixed >> 15) as u64 * 64512) >> 32) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        flow::Direction,
        wire::{Address, protocol::UDP},
    };

    proptest! {
        #[test]
        fn nobody_acknowledges_what_he_has_not_seen(sequence: u32, ahead in 0..65_536_u32, beyond in 65_536..u32::MAX) {
            let expected = expect(sequence);
            prop_assert!(acknowledges(expected, expected.wrapping_add(ahead)));
            prop_assert!(!acknowledges(expected, expected.wrapping_add(beyond)));
            prop_assert!(!acknowledges(expected, expected.wrapping_sub(1)));
        }

        #[test]
        fn the_stranger_keeps_his_port_if_he_can(port in 1..=u16::MAX, asked: u16, address: u32) {
            let ports = (Port::new(port), Port::new(asked));
            let key = FlowKey::new(Address::from_wire(1), Address::from_wire(address), ports, UDP, Direction::Reply);
            prop_assert_eq!(outside_port(&key, 0), Port::new(port));
            for attempt in 1..OUTSIDE_PORTS {
                prop_assert!(outside_port(&key, attempt).number() >= 1024);
                prop_assert_eq!(outside_port(&key, attempt), outside_port(&key, attempt));
            }
        }
    }
}
