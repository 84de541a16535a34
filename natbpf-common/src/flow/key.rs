//! Keys of the flow table, and what a flow's packets are rewritten to.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{
    Address, Port,
    headers::Headers,
    protocol::{TCP, UDP},
    quote::Quote,
};

/// The direction of a packet within its flow, as in conntrack, but for flows that began outside
/// ([`Status::inbound`](super::Status::inbound)): a flow's translation always is that of what leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the instance, which mostly is who began the flow.
    Original = 0,
    /// To it.
    Reply = 1,
}

impl Direction {
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// A packet's tuple as it arrives at the uplink's hook: before translation in either direction.
///
/// 16 bytes without padding. ICMP queries have their identifier as the inside port and the type of the
/// request as the outside port; protocols without ports have zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: Port,
    pub destination_port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Direction`]. No packet matches an entry of the other one. Rows S08, S09.
    pub direction: u8,
    /// Separates networks that use the same addresses. Zero as yet.
    pub zone: u16,
}

/// One word that is read and written whole, so that no packet ever sees half of an old and half of a new
/// translation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// The original direction's new source, or the reply direction's new destination.
    pub address: Address,
    /// Its port.
    pub port: Port,
    /// [`FlowKey::tag`] of the entry's own key.
    pub tag: u16,
    /// [`FlowEntry::outside_port`](super::FlowEntry::outside_port), which is not part of the word: it never changes while the flow has this translation.
    pub outside_port: Port,
}

/// Two numbers of so many bits as one that has them in memory one after the other.
#[inline(always)]
const fn in_order(first: u64, second: u64, bits: u32) -> u64 {
    if cfg!(target_endian = "little") { first | second << bits } else { first << bits | second }
}

impl FlowKey {
    /// Made of two words: whoever hashes and compares it reads words, which a processor has to wait for when they were written in
    /// pieces.
    #[inline(always)]
    pub const fn new(
        source: Address,
        destination: Address,
        (source_port, destination_port): (Port, Port),
        protocol: u8,
        direction: Direction,
    ) -> Self {
        let addresses = in_order(source.to_wire() as u64, destination.to_wire() as u64, 32);
        let ports = in_order(source_port.to_wire() as u64, destination_port.to_wire() as u64, 16);
        let kind = in_order(protocol as u64, direction as u64, 8);
        let rest = in_order(ports, in_order(kind, 0, 16), 32);
        zerocopy::transmute!([addresses, rest])
    }

    /// The key by which the flow table knows a packet.
    #[inline(always)]
    pub fn of(headers: &Headers, direction: Direction) -> Self {
        let ports = (headers.source_port, headers.destination_port);
        Self::new(headers.source, headers.destination, ports, headers.protocol, direction)
    }

    /// The key of the flow that a quoted packet belongs to: that of the direction opposite to it.
    #[inline(always)]
    pub fn answering(quote: &Quote, direction: Direction) -> Self {
        let ports = (quote.destination_port, quote.source_port);
        Self::new(quote.destination, quote.source, ports, quote.protocol, direction)
    }

    /// The key of the flow whose original direction a quoted packet is of.
    #[inline(always)]
    pub fn quoted(quote: &Quote) -> Self {
        let ports = (quote.source_port, quote.destination_port);
        Self::new(quote.source, quote.destination, ports, quote.protocol, Direction::Original)
    }

    #[inline(always)]
    pub fn direction(&self) -> Direction {
        if self.direction == Direction::Original as u8 { Direction::Original } else { Direction::Reply }
    }

    /// The key of the same conversation seen from its other end: source and destination change places, and so
    /// does the direction.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            direction: self.direction ^ 1,
            ..*self
        }
    }

    /// TCP and UDP have no port 0. Row S36.
    #[inline(always)]
    pub fn has_port_zero(&self) -> bool {
        let zero = self.source_port.to_wire() == 0 || self.destination_port.to_wire() == 0;
        zero && (self.protocol == TCP || self.protocol == UDP)
    }

    /// The key of the other entry of a flow, given this one and its rewrite.
    #[inline(always)]
    pub fn peer(&self, rewrite: Rewrite) -> Self {
        let mut translated = *self;
        match self.direction() {
            Direction::Original => {
                translated.source = rewrite.address;
                translated.source_port = rewrite.port;
                if rewrite.has_outside_port() {
                    translated.destination_port = rewrite.outside_port;
                }
            }
            Direction::Reply => {
                translated.destination = rewrite.address;
                translated.destination_port = rewrite.port;
                if rewrite.has_outside_port() {
                    translated.source_port = rewrite.outside_port;
                }
            }
        }
        translated.reversed()
    }

    /// Sixteen bits of the key, kept next to the rewrite: an element of a preallocated hash map can be given
    /// to another key while a program still holds a pointer to it, and the tag tells.
    #[inline(always)]
    pub fn tag(&self) -> u16 {
        let ports = (self.source_port.to_wire() as u32) << 16 | self.destination_port.to_wire() as u32;
        let mixed =
            (self.source.to_wire() ^ self.destination.to_wire().rotate_left(13) ^ ports.rotate_left(5))
                .wrapping_mul(0x9e37_79b1);
        (mixed >> 16) as u16 ^ ((self.protocol as u16) << 8 | self.direction as u16)
    }
}

impl Rewrite {
    /// No translation.
    pub const NONE: Self = Self::from_word(0);

    /// Of one end alone.
    #[inline(always)]
    pub const fn new(address: Address, port: Port, tag: u16) -> Self {
        Self { address, port, tag, outside_port: Port::from_wire(0) }
    }

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.address.is_unspecified()
    }

    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.address.to_wire() as u64 | (self.port.to_wire() as u64) << 32 | (self.tag as u64) << 48
    }

    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            address: Address::from_wire(word as u32),
            port: Port::from_wire((word >> 32) as u16),
            tag: (word >> 48) as u16,
            outside_port: Port::from_wire(0),
        }
    }

    /// The outside's port changes, too.
    #[inline(always)]
    pub const fn has_outside_port(self) -> bool {
        self.outside_port.to_wire() != 0
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::FlowKey {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn keys()(source: u32, destination: u32, source_port: u16, destination_port: u16, protocol: u8, direction in 0..2u8)
            -> FlowKey {
            FlowKey {
                source: Address::from_wire(source),
                destination: Address::from_wire(destination),
                source_port: Port::from_wire(source_port),
                destination_port: Port::from_wire(destination_port),
                protocol,
                direction,
                zone: 0,
            }
        }
    }

    proptest! {
        #[test]
        fn reversing_twice_is_the_identity(key in keys()) {
            prop_assert_eq!(key.reversed().reversed(), key);
            prop_assert_ne!(key.reversed(), key);
        }

        #[test]
        fn the_peer_of_the_peer_is_the_key(key in keys(), address: u32, port: u16, outside: u16) {
            let outside_port = Port::from_wire(outside);
            let rewrite = Rewrite { address: Address::from_wire(address), port: Port::from_wire(port), tag: key.tag(), outside_port };
            let peer = key.peer(rewrite);
            let other = |port: Port| if outside == 0 { Port::from_wire(0) } else { port };
            let back = match key.direction() {
                Direction::Original => Rewrite { address: key.source, port: key.source_port, tag: 0, outside_port: other(key.destination_port) },
                Direction::Reply => Rewrite { address: key.destination, port: key.destination_port, tag: 0, outside_port: other(key.source_port) },
            };
            prop_assert_eq!(peer.peer(back), key);
            prop_assert_ne!(peer.direction(), key.direction());
        }

        #[test]
        fn a_rewrite_survives_its_word(address: u32, port: u16, tag: u16) {
            let rewrite = Rewrite { address: Address::from_wire(address), port: Port::from_wire(port), tag, outside_port: Port::from_wire(0) };
            prop_assert_eq!(Rewrite::from_word(rewrite.to_word()), rewrite);
        }
    }

    #[test]
    fn one_changed_field_changes_the_tag_nearly_always() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut same, mut all) = (0u32, 0u32);
        for _ in 0..20_000 {
            let key = keys().new_tree(&mut runner).unwrap().current();
            let mut other = key;
            other.source_port = Port::new(key.source_port.number().wrapping_add(1));
            all += 1;
            same += u32::from(other.tag() == key.tag());
        }
        assert!(same < all / 1000, "{same} of {all} neighbours have the same tag");
    }

    use proptest::strategy::ValueTree;
}
