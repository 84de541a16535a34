//! State and flags of a flow in one word.

use core::fmt;

use super::{key::Direction, state::State};

/// State and flags of a flow, written together. Both entries of a flow have a copy. Methods whose names begin
/// with `with` return a changed status.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Status(u16);

impl Status {
    const SEEN_REPLY: u16 = 1 << 8;
    const ASSURED: u16 = 1 << 9;
    const HOST: u16 = 1 << 10;
    const MAPPED: u16 = 1 << 11;
    const INBOUND: u16 = 1 << 12;
    /// A FIN of the side that began, and of the other one.
    const FIN_OF_FIRST: u16 = 1 << 13;
    const FIN_OF_SECOND: u16 = 1 << 14;

    /// A status with this number of a [`State`] and no flags.
    #[inline(always)]
    pub const fn new(state: u8) -> Self {
        Self(state as u16)
    }

    /// Reads [`FlowEntry::status`](super::FlowEntry::status).
    #[inline(always)]
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// The word for [`FlowEntry::status`](super::FlowEntry::status): the state in its lower byte, flags above.
    #[inline(always)]
    pub const fn to_word(self) -> u16 {
        self.0
    }

    /// The number of a [`State`].
    #[inline(always)]
    pub const fn state(self) -> u8 {
        self.0 as u8
    }

    /// Another state with the same flags. `state` is the number of a [`State`].
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

    /// Sets what [`Status::seen_reply`] asks.
    #[inline(always)]
    pub const fn with_seen_reply(self) -> Self {
        Self(self.0 | Self::SEEN_REPLY)
    }

    /// The conversation is established (`IPS_ASSURED`).
    #[inline(always)]
    pub const fn assured(self) -> bool {
        self.0 & Self::ASSURED != 0
    }

    /// Sets what [`Status::assured`] asks.
    #[inline(always)]
    pub const fn with_assured(self) -> Self {
        Self(self.0 | Self::ASSURED)
    }

    /// Notes a FIN of one side of the conversation, as the protocol sees it: that side has sent its last data.
    #[inline(always)]
    pub const fn with_fin(self, side: Direction) -> Self {
        Self(self.0 | Self::fin(side))
    }

    /// Whether a FIN of this side is noted.
    #[inline(always)]
    pub const fn has_fin(self, side: Direction) -> bool {
        self.0 & Self::fin(side) != 0
    }

    /// Forgets the FINs of both sides.
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

    /// Sets what [`Status::host`] asks.
    #[inline(always)]
    pub const fn with_host(self) -> Self {
        Self(self.0 | Self::HOST)
    }

    /// The flow counts among the users of an endpoint-independent mapping.
    #[inline(always)]
    pub const fn mapped(self) -> bool {
        self.0 & Self::MAPPED != 0
    }

    /// Sets what [`Status::mapped`] asks.
    #[inline(always)]
    pub const fn with_mapped(self) -> Self {
        Self(self.0 | Self::MAPPED)
    }

    /// The flow began outside: the side that sends first in the protocol's sense sends in the reply direction.
    #[inline(always)]
    pub const fn inbound(self) -> bool {
        self.0 & Self::INBOUND != 0
    }

    /// Sets what [`Status::inbound`] asks.
    #[inline(always)]
    pub const fn with_inbound(self) -> Self {
        Self(self.0 | Self::INBOUND)
    }

    /// A direction of the table as the protocol sees it: original is from the side that began, reply is back to it.
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
            .field("state", &State::from_number(self.state()))
            .field("seen_reply", &self.seen_reply())
            .field("assured", &self.assured())
            .field("host", &self.host())
            .field("mapped", &self.mapped())
            .field("inbound", &self.inbound())
            .finish()
    }
}
