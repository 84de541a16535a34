//! Keys of the flow table, and what a flow's packets are rewritten to.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{
    Address, Address6, Port,
    family::{Family, V4, V6},
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
    /// The other one.
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
/// Without padding: 16 bytes of IPv4, 40 of IPv6. ICMP queries have their identifier as the inside port and
/// the type of the request as the outside port; protocols without ports have zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FlowKey<F: Family = V4> {
    /// Address that the packet comes from.
    pub source: F::Address,
    /// Address that the packet goes to.
    pub destination: F::Address,
    /// Its port; see above for protocols without ports.
    pub source_port: Port,
    /// Port that the packet goes to; see above.
    pub destination_port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Direction`]. No packet matches an entry of the other one. Rows S08, S09.
    pub direction: u8,
    /// Separates networks that use the same addresses. Zero as yet.
    pub zone: u16,
}

/// A family whose flows have keys.
pub trait Keyed: Family {
    /// [`FlowKey::tag`].
    fn tag_of(key: &FlowKey<Self>) -> u16;

    /// Made of words, as [`FlowKey::new`] is.
    fn key(
        source: Self::Address,
        destination: Self::Address,
        ports: (Port, Port),
        protocol: u8,
        direction: Direction,
    ) -> FlowKey<Self>;
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
    /// [`FlowEntry::outside_port`](super::FlowEntry::outside_port), which is not part of the word: it never
    /// changes while the flow has this translation.
    pub outside_port: Port,
}

/// Two numbers of so many bits as one that has them in memory one after the other.
#[inline(always)]
const fn in_order(first: u64, second: u64, bits: u32) -> u64 {
    if cfg!(target_endian = "little") { first | second << bits } else { first << bits | second }
}

/// Everything but the addresses, as one word.
#[inline(always)]
const fn rest((source_port, destination_port): (Port, Port), protocol: u8, direction: Direction) -> u64 {
    let ports = in_order(source_port.to_wire() as u64, destination_port.to_wire() as u64, 16);
    let kind = in_order(protocol as u64, direction as u64, 8);
    in_order(ports, in_order(kind, 0, 16), 32)
}

/// [`FlowKey::tag`] of a family's key, whose addresses become a word each. A macro and no generic function, which the
/// compiler optimizes before it knows the family: of IPv4 it would make other instructions of it.
macro_rules! tag {
    ($key:ident, $word:path) => {{
        let ports = ($key.source_port.to_wire() as u32) << 16 | $key.destination_port.to_wire() as u32;
        let mixed = ($word($key.source) ^ $word($key.destination).rotate_left(13) ^ ports.rotate_left(5))
            .wrapping_mul(0x9e37_79b1);
        (mixed >> 16) as u16 ^ (($key.protocol as u16) << 8 | $key.direction as u16)
    }};
}

impl Keyed for V4 {
    #[inline(always)]
    fn tag_of(key: &FlowKey) -> u16 {
        tag!(key, Address::to_wire)
    }

    #[inline(always)]
    fn key(
        source: Address,
        destination: Address,
        ports: (Port, Port),
        protocol: u8,
        direction: Direction,
    ) -> FlowKey {
        FlowKey::new(source, destination, ports, protocol, direction)
    }
}

impl Keyed for V6 {
    #[inline(always)]
    fn tag_of(key: &FlowKey<Self>) -> u16 {
        tag!(key, Address6::fold)
    }

    #[inline(always)]
    fn key(
        source: Address6,
        destination: Address6,
        ports: (Port, Port),
        protocol: u8,
        direction: Direction,
    ) -> FlowKey<Self> {
        let half = |first: u32, second: u32| in_order(first as u64, second as u64, 32);
        let ([a, b, c, d], [e, f, g, h]) = (source.to_wire(), destination.to_wire());
        zerocopy::transmute!([
            half(a, b),
            half(c, d),
            half(e, f),
            half(g, h),
            rest(ports, protocol, direction)
        ])
    }
}

impl FlowKey {
    /// Made of two words: it is hashed and compared by words, which a processor has to wait for when they were
    /// written in pieces.
    #[inline(always)]
    pub const fn new(
        source: Address,
        destination: Address,
        ports: (Port, Port),
        protocol: u8,
        direction: Direction,
    ) -> Self {
        let addresses = in_order(source.to_wire() as u64, destination.to_wire() as u64, 32);
        zerocopy::transmute!([addresses, rest(ports, protocol, direction)])
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
}

impl<F: Keyed> FlowKey<F> {
    /// The key by which the flow table knows a packet.
    #[inline(always)]
    pub fn of(headers: &Headers<F>, direction: Direction) -> Self {
        let ports = (headers.source_port, headers.destination_port);
        F::key(headers.source, headers.destination, ports, headers.protocol, direction)
    }

    /// The direction; any other number than that of the original one counts as the reply.
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

    /// Sixteen bits of the key, kept next to the rewrite: an element of a preallocated hash map can be given
    /// to another key while a program still holds a pointer to it, and the tag tells.
    #[inline(always)]
    pub fn tag(&self) -> u16 {
        F::tag_of(self)
    }
}

impl Rewrite {
    /// No translation.
    pub const NONE: Self = Self::from_word(0);

    /// The rewrite of one end alone.
    #[inline(always)]
    pub const fn new(address: Address, port: Port, tag: u16) -> Self {
        Self { address, port, tag, outside_port: Port::from_wire(0) }
    }

    /// There is no translation: no host has the address 0.0.0.0.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.address.is_unspecified()
    }

    /// As it stands in the flow table: address, port and tag from the lowest bit up.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.address.to_wire() as u64 | (self.port.to_wire() as u64) << 32 | (self.tag as u64) << 48
    }

    /// The reverse of [`to_word`](Self::to_word), without a port of the outside.
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

/// What zerocopy's derive and aya ask for. The derive takes no generic type with an alignment of its own, so
/// the proof that it would write is here.
macro_rules! without_padding {
    ($($family:ty: $size:literal),*) => {$(
        const _: () = {
            let addresses = 2 * size_of::<<$family as Family>::Address>();
            let others = 2 * size_of::<Port>() + 2 * size_of::<u8>() + size_of::<u16>();
            assert!(size_of::<FlowKey<$family>>() == addresses + others && addresses + others == $size);
        };

        // SAFETY: as long as all its fields together, so there is nothing between them; and none of them has
        // padding itself.
        unsafe impl IntoBytes for FlowKey<$family> {
            fn only_derive_is_allowed_to_implement_this_trait() {}
        }

        // SAFETY: `repr(C)`, no padding (see above), any bytes are valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for FlowKey<$family> {}
    )*};
}

without_padding!(V4: 16, V6: 40);

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

    prop_compose! {
        fn keys6()(source: [u32; 4], destination: [u32; 4], key in keys()) -> FlowKey<V6> {
            FlowKey {
                source: Address6::from_wire(source),
                destination: Address6::from_wire(destination),
                source_port: key.source_port,
                destination_port: key.destination_port,
                protocol: key.protocol,
                direction: key.direction,
                zone: 0,
            }
        }
    }

    fn reverses<F: Keyed>(key: FlowKey<F>) {
        let reversed = key.reversed();
        assert_eq!(reversed.reversed(), key);
        assert_ne!(reversed, key);
        assert_eq!(reversed.direction(), key.direction().opposite());
        assert_eq!((reversed.source, reversed.source_port), (key.destination, key.destination_port));
    }

    /// What is made of headers has every field of them.
    fn is_made_of_its_fields<F: Keyed>(key: FlowKey<F>) {
        let headers = Headers {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            ..Headers::default()
        };
        assert_eq!(FlowKey::of(&headers, key.direction()), key);
    }

    proptest! {
        #[test]
        fn reversing_twice_is_the_identity(key in keys(), key6 in keys6()) {
            reverses(key);
            reverses(key6);
        }

        #[test]
        fn a_key_made_of_words_has_its_fields(key in keys(), key6 in keys6()) {
            is_made_of_its_fields(key);
            is_made_of_its_fields(key6);
        }

        #[test]
        fn a_key_is_its_fields_one_after_the_other(key in keys6()) {
            let rest = [key.source_port.as_bytes(), key.destination_port.as_bytes(), &[key.protocol, key.direction, 0, 0]];
            let expected = [key.source.as_bytes(), key.destination.as_bytes(), &rest.concat()].concat();
            prop_assert_eq!(key.as_bytes(), expected);
            prop_assert_eq!(FlowKey::<V6>::read_from_bytes(key.as_bytes()), Ok(key));
        }

        #[test]
        fn the_peer_of_the_peer_is_the_key(key in keys(), address: u32, port: u16, outside: u16) {
            let outside_port = Port::from_wire(outside);
            let (address, port, tag) = (Address::from_wire(address), Port::from_wire(port), key.tag());
            let rewrite = Rewrite { address, port, tag, outside_port };
            let peer = key.peer(rewrite);
            let other = |port: Port| if outside == 0 { Port::from_wire(0) } else { port };
            let back = match key.direction() {
                Direction::Original => (key.source, key.source_port, key.destination_port),
                Direction::Reply => (key.destination, key.destination_port, key.source_port),
            };
            let back = Rewrite { address: back.0, port: back.1, tag: 0, outside_port: other(back.2) };
            prop_assert_eq!(peer.peer(back), key);
            prop_assert_ne!(peer.direction(), key.direction());
        }

        #[test]
        fn a_rewrite_survives_its_word(address: u32, port: u16, tag: u16) {
            let rewrite = Rewrite::new(Address::from_wire(address), Port::from_wire(port), tag);
            prop_assert_eq!(Rewrite::from_word(rewrite.to_word()), rewrite);
        }
    }

    /// Those of neighbours, whose source ports follow each other, and of the two directions.
    fn tags_differ<F: Keyed>(keys: impl Strategy<Value = FlowKey<F>>) {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut same, mut all) = (0u32, 0u32);
        for _ in 0..20_000 {
            let key = keys.new_tree(&mut runner).unwrap().current();
            let mut other = key;
            other.source_port = Port::new(key.source_port.number().wrapping_add(1));
            all += 2;
            same += u32::from(other.tag() == key.tag()) + u32::from(key.reversed().tag() == key.tag());
        }
        assert!(same < all / 1000, "{same} of {all} have the same tag");
    }

    #[test]
    fn one_changed_field_changes_the_tag_nearly_always() {
        tags_differ(keys());
        tags_differ(keys6());
    }

    #[test]
    fn one_changed_bit_of_an_address_changes_the_tag_nearly_always() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut same, mut all) = (0u32, 0u32);
        for number in 0..20_000 {
            let key = keys6().new_tree(&mut runner).unwrap().current();
            let (mut words, mut other) = (key.source.to_wire(), key);
            words[number / 32 % 4] ^= 1 << (number % 32);
            other.source = Address6::from_wire(words);
            all += 1;
            same += u32::from(other.tag() == key.tag());
        }
        assert!(same < all / 1000, "{same} of {all} have the same tag");
    }

    use proptest::strategy::ValueTree;
}
