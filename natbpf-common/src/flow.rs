//! Keys and values of the flow table.
//!
//! A flow has two entries, one for each direction, and each holds the whole rewrite of its direction: a
//! packet of a known flow costs one lookup. The entry of the original direction is the authority on the
//! flow's life; the entry of the reply direction keeps a copy that it renews at most once a second.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Address, Nanoseconds, Port,
    offload::Offload,
    protocol::{TCP, UDP},
};

/// The direction of a packet within its flow, as in conntrack, but for flows that began outside
/// ([`Status::inbound`]): a flow's translation always is that of what leaves.
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
    /// A [`Direction`].
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
    /// [`FlowEntry::outside_port`], which is not part of the word: it never changes while the flow has this translation.
    pub outside_port: Port,
}

/// Value of the flow table, 64 bytes: a cache line.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEntry {
    /// A [`Life`](crate::life::Life).
    pub life: u64,
    /// A [`Rewrite`].
    pub rewrite: u64,
    /// When the flow began.
    pub created: Moment,
    /// Interface index of the uplink that the flow leaves by.
    pub uplink: u32,
    /// A [`Status`].
    pub status: u16,
    /// Of [`FlowEntry::COUNTED`] and its like; never changed while the flow has this translation.
    pub traits: u16,
    /// The outside's port after translation, if that is translated, too; else zero. It is where a stranger uses one port toward two
    /// forwards of one inside endpoint, which could not tell the two flows apart.
    pub outside_port: Port,
    /// Tag (802.1Q) with which packets of this direction leave if they are repeated, host order; 0: none. Goes with `offload`.
    pub vlan: u16,
    pub offload: Offload,
}

/// A point in time, coarse and short: the monotonic clock in units of 2^26 nanoseconds, 67 milliseconds. Wraps after nine years.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Moment(u32);

impl Moment {
    const SHIFT: u32 = 26;

    #[inline(always)]
    pub const fn of(time: Nanoseconds) -> Self {
        Self((time >> Self::SHIFT) as u32)
    }

    /// When it was, at the earliest.
    #[inline(always)]
    pub const fn time(self) -> Nanoseconds {
        (self.0 as u64) << Self::SHIFT
    }

    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// How long ago it was, at the most.
    #[inline(always)]
    pub const fn age(self, now: Nanoseconds) -> Nanoseconds {
        now.saturating_sub(self.time())
    }
}

impl FlowEntry {
    /// Counts among the flows of its source.
    pub const COUNTED: u16 = 1;
    /// Counts among the users of a peer of its mapping ([`Side::Peer`](crate::mapping::Side::Peer)).
    pub const PEERED: u16 = 2;
    /// The external address is not one of the uplink's own: user space ends the flow when it goes.
    pub const FOREIGN_ADDRESS: u16 = 4;
    /// Packets from outside do not renew it.
    pub const OUTBOUND_REFRESH: u16 = 8;
    /// It is not translated: it began outside, toward the instance's own address.
    pub const UNTRANSLATED: u16 = 16;
    /// Counts among the flows that strangers have begun to its source.
    pub const COUNTED_INBOUND: u16 = 32;
    /// It counts, in either account.
    pub const COUNTED_ANYWHERE: u16 = Self::COUNTED | Self::COUNTED_INBOUND;

    /// The whole rewrite of its direction.
    pub const fn rewrite(&self) -> Rewrite {
        Rewrite { outside_port: self.outside_port, ..Rewrite::from_word(self.rewrite) }
    }
}

/// State and flags of a flow, written together. Both entries of a flow have a copy.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Status(u16);

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

    /// TCP and UDP have no port 0.
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

impl Status {
    const SEEN_REPLY: u16 = 1 << 8;
    const ASSURED: u16 = 1 << 9;
    const HOST: u16 = 1 << 10;
    const MAPPED: u16 = 1 << 11;
    const INBOUND: u16 = 1 << 12;
    /// A FIN of the side that began, and of the other one.
    const FIN_OF_FIRST: u16 = 1 << 13;
    const FIN_OF_SECOND: u16 = 1 << 14;

    /// A status with this [`State`](crate::state::State) and no flags.
    #[inline(always)]
    pub const fn new(state: u8) -> Self {
        Self(state as u16)
    }

    #[inline(always)]
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub const fn to_word(self) -> u16 {
        self.0
    }

    /// The number of a [`State`](crate::state::State).
    #[inline(always)]
    pub const fn state(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub const fn with_state(self, state: u8) -> Self {
        Self(self.0 & 0xff00 | state as u16)
    }

    /// The status of a flow that begins anew in its place: what it holds stays, what it has seen is
    /// forgotten.
    #[inline(always)]
    pub const fn restarted(self, first: Self) -> Self {
        Self(self.0 & (Self::HOST | Self::MAPPED) | first.0)
    }

    /// The status of another connection on the same tuple, which begins on the same side.
    #[inline(always)]
    pub const fn reopened(self, state: u8) -> Self {
        Self(self.0 & (Self::HOST | Self::MAPPED | Self::INBOUND) | state as u16)
    }

    /// A packet came back (`IPS_SEEN_REPLY`).
    #[inline(always)]
    pub const fn seen_reply(self) -> bool {
        self.0 & Self::SEEN_REPLY != 0
    }

    #[inline(always)]
    pub const fn with_seen_reply(self) -> Self {
        Self(self.0 | Self::SEEN_REPLY)
    }

    /// The conversation is established (`IPS_ASSURED`).
    #[inline(always)]
    pub const fn assured(self) -> bool {
        self.0 & Self::ASSURED != 0
    }

    #[inline(always)]
    pub const fn with_assured(self) -> Self {
        Self(self.0 | Self::ASSURED)
    }

    /// A side of the conversation, as the protocol sees it, says that it has sent its last.
    #[inline(always)]
    pub const fn with_fin(self, side: Direction) -> Self {
        Self(self.0 | Self::fin(side))
    }

    #[inline(always)]
    pub const fn has_fin(self, side: Direction) -> bool {
        self.0 & Self::fin(side) != 0
    }

    #[inline(always)]
    pub const fn without_fins(self) -> Self {
        Self(self.0 & !(Self::FIN_OF_FIRST | Self::FIN_OF_SECOND))
    }

    #[inline(always)]
    const fn fin(side: Direction) -> u16 {
        match side {
            Direction::Original => Self::FIN_OF_FIRST,
            Direction::Reply => Self::FIN_OF_SECOND,
        }
    }

    /// The flow is the host's own, kept so that no instance's flow takes its tuple.
    #[inline(always)]
    pub const fn host(self) -> bool {
        self.0 & Self::HOST != 0
    }

    #[inline(always)]
    pub const fn with_host(self) -> Self {
        Self(self.0 | Self::HOST)
    }

    /// The flow counts among the users of an endpoint-independent mapping.
    #[inline(always)]
    pub const fn mapped(self) -> bool {
        self.0 & Self::MAPPED != 0
    }

    #[inline(always)]
    pub const fn with_mapped(self) -> Self {
        Self(self.0 | Self::MAPPED)
    }

    /// The flow began outside: who sends first in the protocol's sense is on the side of the reply direction.
    #[inline(always)]
    pub const fn inbound(self) -> bool {
        self.0 & Self::INBOUND != 0
    }

    #[inline(always)]
    pub const fn with_inbound(self) -> Self {
        Self(self.0 | Self::INBOUND)
    }

    /// A direction of the table as the protocol sees it: from whoever began, or back.
    #[inline(always)]
    pub const fn seen_by_protocol(self, direction: Direction) -> Direction {
        match (direction, self.inbound()) {
            (Direction::Original, false) | (Direction::Reply, true) => Direction::Original,
            _ => Direction::Reply,
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("state", &crate::state::State::from_number(self.state()))
            .field("seen_reply", &self.seen_reply())
            .field("assured", &self.assured())
            .field("host", &self.host())
            .field("mapped", &self.mapped())
            .field("inbound", &self.inbound())
            .finish()
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: both types are `repr(C)`, have no padding (zerocopy's `IntoBytes` proves it) and any bytes are
    // valid.
    unsafe impl aya::Pod for super::FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FlowEntry {}
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
