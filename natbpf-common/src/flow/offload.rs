//! How the kernel has forwarded the packets of a flow, so that the datapath can repeat it.
//!
//! The kernel decides: a packet that comes in by an inside port, or by the uplink, is remembered
//! ([`crate::path::crossing`]), takes its ordinary path through the stack, and is seen again where it leaves.
//! There the path is noted in the flow's entry of its direction, and the packets after it are sent by it at
//! once. What was noted holds for a time and for an epoch; then one packet asks the kernel again.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    interface::IfIndex,
    time::{Tick, Ticks},
};

/// The noted path of one direction of a flow; the other cache line of its entry. 32 bytes without padding.
///
/// Written under the lock that [`Validity::BUSY`] is. A reader loads `validity` before the rest and again
/// after it: if it is the same, the rest was not changed in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offload {
    /// A [`Validity`], as a word.
    pub validity: u64,
    /// [`Frame::fingerprint`](crate::path::frame::Frame::fingerprint) of the frames that the path is for, as
    /// they come in.
    pub frame: u64,
    /// Destination and source of the frame as it leaves: its first twelve bytes as three native words.
    pub ethernet: [u32; 3],
    /// The inside port: where packets of the original direction come in, and those of the reply direction go out. The
    /// other end of the path is the flow's uplink.
    pub port: NotedPort,
}

/// What is special about an inside port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PortFlags(u32);

bitflags! {
    impl PortFlags: u32 {
        /// The port is one end of a veth pair whose other end is in another network namespace: packets may go straight
        /// to that end.
        const PEER = 1 << 31;
    }
}

/// An inside port, and what is special about it: one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct NotedPort(u32);

impl NotedPort {
    /// The flags stand in bits that no interface index has.
    #[inline(always)]
    pub const fn new(interface: IfIndex, flags: PortFlags) -> Self {
        Self(interface.number() | flags.bits() & PortFlags::PEER.bits())
    }

    /// The port itself.
    #[inline(always)]
    pub const fn interface(self) -> IfIndex {
        IfIndex::new(self.0 & !PortFlags::PEER.bits())
    }

    /// Whether packets go straight to the other end of the pair ([`PortFlags::PEER`]).
    #[inline(always)]
    pub const fn peer(self) -> bool {
        self.0 & PortFlags::PEER.bits() != 0
    }
}

/// How long a noted path holds, for which epoch, and for packets of which length; one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it ends.
    pub until: Tick,
    /// [`Gauge::Epoch`](crate::contract::gauge::Gauge::Epoch) when it was noted.
    pub epoch: u16,
    /// Longest IPv4 packet, or segment of one, that the kernel has let through.
    pub size: u16,
}

impl Validity {
    /// Nothing is noted.
    pub const NONE: u64 = 0;
    /// It is being written.
    pub const BUSY: u64 = 1;

    /// Valid from now on. The epoch is not 0, so the word is neither of the two above.
    #[inline(always)]
    pub const fn new(now: Tick, lasts: Ticks, epoch: u16, size: u16) -> Self {
        Self { until: now.after(lasts), epoch, size }
    }

    /// The word for [`Offload::validity`]: from the lowest bit on 32 bits of `until`, 16 of `epoch`, 16 of `size`.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.until.number() as u64 | (self.epoch as u64) << 32 | (self.size as u64) << 48
    }

    /// Reads [`Offload::validity`]. [`Validity::NONE`] and [`Validity::BUSY`] become one that never holds.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { until: Tick::new(word as u32), epoch: (word >> 32) as u16, size: (word >> 48) as u16 }
    }

    /// Whether the path may be used `now`. `epoch` is the present one and not 0. Row M28.
    #[inline(always)]
    pub const fn holds(self, now: Tick, epoch: u16) -> bool {
        self.epoch == epoch && self.until.is_after(now)
    }
}

/// How long a path noted now holds: up to a quarter less than the interval, by the lowest eight bits of
/// `seed`, so that not all flows ask again at once.
#[inline(always)]
pub const fn spread(interval: Ticks, seed: u32) -> Ticks {
    let interval = interval.number();
    Ticks::new(interval - (((interval as u64 >> 2) * (seed as u64 & 0xff)) >> 8) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::SECOND;

    proptest! {
        #[test]
        fn a_validity_survives_its_word(until: u32, epoch: u16, size: u16) {
            let validity = Validity { until: Tick::new(until), epoch, size };
            prop_assert_eq!(Validity::from_word(validity.to_word()), validity);
        }

        #[test]
        fn it_holds_for_its_time_and_epoch(now: u32, lasts in 1..1u32 << 30, later in 0..1u32 << 30, epoch in 1..=u16::MAX) {
            let validity = Validity::new(Tick::new(now), Ticks::new(lasts), epoch, 1500);
            prop_assert_eq!(validity.holds(Tick::new(now.wrapping_add(later)), epoch), later < lasts);
            prop_assert!(!validity.holds(Tick::new(now), epoch ^ 1));
            prop_assert!(validity.to_word() != Validity::NONE && validity.to_word() != Validity::BUSY);
        }

        #[test]
        fn the_spread_is_within_a_quarter(interval in 0..1u32 << 30, seed: u32) {
            let lasts = spread(Ticks::new(interval), seed).number();
            prop_assert!(lasts <= interval && lasts >= interval - interval / 4);
        }
    }

    #[test]
    fn nothing_noted_holds_never() {
        for word in [Validity::NONE, Validity::BUSY] {
            assert!(!Validity::from_word(word).holds(Tick::new(0), 1));
            assert!(!Validity::from_word(word).holds(Tick::new(u32::MAX), 1));
        }
        assert_eq!((10 * SECOND).ticks(), Ticks::new(9536));
    }
}
