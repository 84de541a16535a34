//! Fragments: what is remembered of a datagram that comes in pieces, and of pieces that came too early.
//!
//! Nothing is reassembled. The first fragment alone has ports; what was decided for it holds for the others,
//! which get the same address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    flow::Direction,
    interface::IfIndex,
    siphash::{Secret, siphash},
    time::{Nanoseconds, Timestamp},
    wire::{
        Address,
        headers::{FRAGMENT_OFFSET, Headers, MORE_FRAGMENTS},
        protocol::TCP,
    },
};

/// How many datagrams are remembered that are not whole yet. The one that was looked at longest ago gives way.
pub const DATAGRAMS: usize = 1024;

/// How long a datagram is remembered: as long as the kernel waits (`net.ipv4.ipfrag_time`).
pub const LIFETIME: Nanoseconds = Nanoseconds::seconds(30);

/// Places for fragments that came before the first one of their datagram. The oldest gives way. A power of
/// two. Row U28.
pub const PLACES: usize = 512;

/// Bytes of the longest fragment that is kept, from its IPv4 header on.
pub const LONGEST: usize = 2048;

/// How many fragments of one datagram may be kept: enough for the longest datagram at an MTU of 576.
pub const KEPT: usize = 128;

/// How many counters of identifications there are. A power of two.
pub const IDENTIFICATIONS: usize = 1024;

/// Fragments are cut at multiples of this.
const UNIT: u32 = 8;

/// Bits of a word of a map of units.
const WORD: u32 = u64::BITS;

/// Words of a map of the units of the longest datagram.
pub const WORDS: usize = 0x1_0000 / (UNIT * WORD) as usize;

/// What the fragments of a datagram have in common, as they arrive at the uplink's hook (RFC 791, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct DatagramKey {
    /// Source address, as it stands in the packet.
    pub source: Address,
    /// Destination address, as it stands in the packet.
    pub destination: Address,
    /// Interface index of the uplink.
    pub uplink: IfIndex,
    /// In packet order.
    pub identification: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Direction`]: original is what leaves.
    pub direction: u8,
}

impl DatagramKey {
    /// The key of a fragment with these headers. `direction` is the number of a [`Direction`].
    #[inline(always)]
    pub fn of(headers: &Headers, uplink: IfIndex, direction: u32) -> Self {
        Self {
            source: headers.source,
            destination: headers.destination,
            uplink,
            identification: headers.identification,
            protocol: headers.protocol,
            direction: direction as u8,
        }
    }

    /// Whether the datagram goes out by the uplink.
    #[inline(always)]
    pub const fn leaves(&self) -> bool {
        self.direction == Direction::Original as u8
    }

    /// Fourteen bits of the key, kept next to the verdict; what they are good for is said at
    /// [`FlowKey::tag`](crate::flow::FlowKey::tag).
    #[inline(always)]
    pub const fn tag(&self) -> u16 {
        let mixed = (self.source.to_wire()
            ^ self.destination.to_wire().rotate_left(13)
            ^ (self.identification as u32).rotate_left(9)
            ^ self.uplink.number().rotate_left(22))
        .wrapping_mul(0x9e37_79b1);
        ((mixed >> 16) as u16 ^ ((self.protocol as u16) << 5 | self.direction as u16)) & Verdict::TAG
    }
}

/// What becomes of the fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Decision {
    /// The first one has not come.
    Open = 0,
    /// They get another address.
    Translate = 1,
    /// They go on as they are.
    Pass = 2,
    /// They are dropped: two of them overlap.
    Drop = 3,
}

/// A decision in one word, which is read and changed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the fragments.
    pub decision: Decision,
    /// The new address, for [`Decision::Translate`].
    pub address: Address,
    /// The new identification, in packet order, for what leaves translated.
    pub identification: u16,
    /// [`DatagramKey::tag`].
    pub tag: u16,
}

impl Verdict {
    const TAG: u16 = 0x3fff;

    /// Nothing is decided yet for the datagram with this tag.
    #[inline(always)]
    pub const fn open(tag: u16) -> Self {
        Self { decision: Decision::Open, address: Address::UNSPECIFIED, identification: 0, tag }
    }

    /// Whether it was made for another datagram than one whose fragments get this address; an unspecified address: they
    /// get none.
    #[inline(always)]
    pub fn contradicts(self, address: Address) -> bool {
        match self.decision {
            Decision::Translate | Decision::Pass => self.address != address,
            Decision::Open | Decision::Drop => false,
        }
    }

    /// The word for [`Datagram::verdict`]: from the lowest bit on 32 bits of the address, 16 of the identification, 14
    /// of the tag, 2 of the decision.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.address.to_wire() as u64
            | (self.identification as u64) << 32
            | (self.tag as u64) << 48
            | (self.decision as u64) << 62
    }

    /// Reads [`Datagram::verdict`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            decision: match word >> 62 {
                0 => Decision::Open,
                1 => Decision::Translate,
                2 => Decision::Pass,
                _ => Decision::Drop,
            },
            address: Address::from_wire(word as u32),
            identification: (word >> 32) as u16,
            tag: (word >> 48) as u16 & Self::TAG,
        }
    }
}

/// What is remembered of a datagram.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Datagram {
    /// A [`Verdict`], as a word.
    pub verdict: u64,
    /// When the earliest of its fragments came.
    pub born: Timestamp,
    /// A [`Progress`], as a word.
    pub progress: u64,
    /// How many fragments were kept, and [`Datagram::CLOSED`].
    pub kept: u64,
    /// Numbers of the kept fragments, see [`Place`]. 0: a number is just being entered.
    pub numbers: [u32; KEPT],
    /// A bit for each 8 bytes that have passed.
    pub units: [u64; WORDS],
    /// A bit where a fragment that has passed begins, and where it ends.
    pub edges: [u64; WORDS],
}

impl Datagram {
    /// The first fragment has come, and nothing more is kept.
    pub const CLOSED: u64 = 1 << 32;

    /// How many fragments were kept, at most [`KEPT`], given [`Datagram::kept`].
    #[inline(always)]
    pub const fn number_kept(kept: u64) -> u32 {
        let number = kept as u32;
        if number < KEPT as u32 { number } else { KEPT as u32 }
    }
}

/// How much of a datagram has passed: the units in the low half; the units of the whole in the high half, 0 as
/// long as the last fragment is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress(u64);

impl Progress {
    /// Reads [`Datagram::progress`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// What a piece adds to the word.
    #[inline(always)]
    pub const fn of(piece: Piece) -> u64 {
        let units = (piece.end - piece.first) as u64;
        if piece.last { (piece.end as u64) << 32 | units } else { units }
    }

    /// Whether all of the datagram has passed.
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        let whole = (self.0 >> 32) as u32;
        whole != 0 && whole == self.0 as u32
    }
}

/// Which part of a datagram a fragment is, in units of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first unit: the fragment's offset.
    pub first: u32,
    /// The unit after the last one; at most 8192.
    pub end: u32,
    /// Nothing follows.
    pub last: bool,
}

impl Piece {
    /// The piece that a fragment with these headers is; `None`: no fragment of a datagram looks like this.
    /// Rows S22, S26.
    #[inline(always)]
    pub fn of(headers: &Headers) -> Option<Self> {
        let first = (headers.fragment & FRAGMENT_OFFSET) as u32;
        let last = headers.fragment & MORE_FRAGMENTS == 0;
        let length = headers.payload;
        let whole = (headers.transport - headers.network) + first * UNIT;
        // Row S24.
        let sensible = length != 0 && length <= 0xffff && whole + length <= 0xffff;
        if !sensible || !last && !length.is_multiple_of(UNIT) {
            return None;
        }
        // Inside the header, which the first fragment has whole (RFC 3128).
        if headers.protocol == TCP && first == 1 {
            return None;
        }
        Some(Self { first, end: first + length.div_ceil(UNIT), last })
    }

    /// The bits of this piece in a word of a map of units.
    #[inline(always)]
    pub const fn bits(self, word: u32) -> u64 {
        let base = word * WORD;
        let low = self.first.saturating_sub(base);
        let end = self.end.saturating_sub(base);
        let high = if end > WORD { WORD } else { end };
        if low >= high { 0 } else { (u64::MAX >> (WORD - (high - low))) << low }
    }

    /// The same without the bit of the first unit.
    #[inline(always)]
    pub const fn inner_bits(self, word: u32) -> u64 {
        Self { first: self.first + 1, ..self }.bits(word)
    }

    /// The words that the piece has bits in: the first one, and the one after the last.
    #[inline(always)]
    pub const fn words(self) -> (u32, u32) {
        (self.first / WORD, self.end.div_ceil(WORD))
    }

    /// The two edges, each as a word of a map of edges and its bit.
    #[inline(always)]
    pub const fn edges(self) -> [(u32, u64); 2] {
        [(self.first / WORD, 1 << (self.first % WORD)), (self.end / WORD, 1 << (self.end % WORD))]
    }
}

/// How a fragment fits those that have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// No part of it has passed.
    New,
    /// The same has passed.
    Duplicate,
    /// Part of it has passed, or it is part of what has. The kernel takes the latter for a duplicate
    /// (`inet_frag_queue_insert`).
    Overlap,
}

/// What was found where a piece was entered into a map of units, word by word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entered {
    /// Bits that stood there already.
    known: u64,
    /// Bits that did not.
    new: u64,
    /// Edges within.
    edges: u64,
}

impl Entered {
    /// Takes in one word of the map of units after the bits of the piece were set in it: `old` is what it was before,
    /// `edges` is the same word of the map of edges.
    #[inline(always)]
    pub const fn add(&mut self, piece: Piece, word: u32, old: u64, edges: u64) {
        let bits = piece.bits(word);
        self.known |= old & bits;
        self.new |= !old & bits;
        self.edges |= edges & piece.inner_bits(word);
    }

    /// How the piece fits. `same_edges`: a fragment that has passed begins where the piece does, and one ends where the
    /// piece does.
    #[inline(always)]
    pub const fn fit(self, same_edges: bool) -> Fit {
        match (self.known, self.new | self.edges) {
            (0, _) => Fit::New,
            (_, 0) if same_edges => Fit::Duplicate,
            _ => Fit::Overlap,
        }
    }

    /// Whether no part of the piece has passed.
    #[inline(always)]
    pub const fn is_new(self) -> bool {
        self.known == 0
    }
}

/// Where a fragment is kept. Numbers count up, and their remainder is the place: a program that finds another
/// number there comes too late.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    /// The number, and one of the constants below in the lowest two bits.
    pub state: u64,
    /// The datagram that the fragment belongs to.
    pub key: DatagramKey,
    /// How many of `bytes` count.
    pub length: u32,
    /// Not 0: the packet itself was dropped, and this is the only copy.
    pub held: u32,
    /// The fragment from its IPv4 header on.
    pub bytes: [u8; LONGEST],
}

impl Place {
    /// There is no fragment.
    pub const FREE: u64 = 0;
    /// One program writes or reads it, and all others keep off.
    pub const BUSY: u64 = 1;
    /// There is a fragment.
    pub const FULL: u64 = 2;

    /// The word for [`Place::state`] with this number and one of the constants above.
    #[inline(always)]
    pub const fn state(number: u32, state: u64) -> u64 {
        (number as u64) << 2 | state
    }

    /// Whether a word of [`Place::state`] has this one of the constants above.
    #[inline(always)]
    pub const fn is(state: u64, wanted: u64) -> bool {
        state & 3 == wanted
    }
}

/// Which counter of identifications packets with these addresses and this protocol use, and what is added to
/// its value. As in the kernel's `__ip_select_ident`, a host cannot learn from its own identifications how
/// many packets others send.
#[inline(always)]
pub const fn identification(
    secret: Secret,
    source: Address,
    destination: Address,
    protocol: u8,
) -> (u32, u16) {
    // Not to meet with what else is hashed by this secret.
    const PURPOSE: u64 = 0x6672_6167 << 32;
    let ends = source.to_wire() as u64 | (destination.to_wire() as u64) << 32;
    let hash = siphash(secret, [ends, PURPOSE | protocol as u64]);
    (hash as u32 & (IDENTIFICATIONS as u32 - 1), (hash >> 32) as u16)
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::DatagramKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Datagram {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Place {}
}

#[cfg(test)]
mod tests;
