//! A path as it is kept: whose packets take it, what is done to them, how they leave, and until when.
//!
//! ```text
//!            0        24      32     40     48                 56     64
//!   IPv4     | key    | frame | until | epoch, size, hops, sums | new addresses and ports ...
//! ```
//!
//! A cell is written by the program that has its set to itself. A reader loads `until` before the rest and again after
//! it: if it is the same, the rest was not changed in between.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    key::{ANSWER, PathKey},
    sums::Sums,
};
use crate::{
    interface::IfIndex,
    time::{Nanoseconds, Tick, Timestamp},
    wire::{
        Port,
        family::{Family, V4, V6},
        protocol::TCP,
    },
};

/// What is done to a packet on its path: nothing, for one that is bridged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Change<F: Family = V4> {
    /// What the differences of addresses and ports make of checksums.
    pub sums: Sums,
    /// Address that it comes from when it leaves.
    pub source: F::Address,
    /// Address that it goes to when it leaves.
    pub destination: F::Address,
    /// As in [`PathKey`], when it leaves.
    pub source_port: Port,
    /// As in [`PathKey`], when it leaves.
    pub destination_port: Port,
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exit {
    /// Interface index of the edge by which it leaves.
    pub edge: IfIndex,
    /// Destination and source of the frame: its first twelve bytes as three native words.
    pub ethernet: [u32; 3],
    /// Tag with which it leaves, protocol (upper half) and TCI, host order; 0: none.
    pub vlan: u32,
    /// `skb->mark` and `skb->priority` when it leaves, by which queueing disciplines and filters may choose.
    pub mark: u32,
    /// See `mark`.
    pub priority: u32,
}

/// What is special about a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PathFlags(u8);

bitflags! {
    impl PathFlags: u8 {
        /// It leads straight to the other end of a veth pair, in a container.
        const PEER = 1;
        /// It leads out by an uplink of natbpf's own NAT.
        const OUT = 2;
        /// It leads in by such an uplink.
        const IN = 4;
    }
}

/// One path. 112 bytes of IPv4, 160 of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Path<F: Family = V4> {
    /// Which packets take it.
    pub key: PathKey<F>,
    /// [`Frame::fingerprint`](super::frame::Frame::fingerprint) of their frames, as they come in.
    pub frame: u64,
    /// Until when the kernel need not be asked again, by the datapath's clock; 0: it is being written, or is none.
    pub until: Timestamp,
    /// The epoch for which it holds, see [`Gauge::Epoch`](crate::contract::gauge::Gauge::Epoch).
    pub epoch: u32,
    /// Longest IP packet, or segment of one, that the kernel has let through, in bytes.
    pub size: u16,
    /// How much the time to live goes down: 0 for a bridge, 1 for each router.
    pub hops: u8,
    /// What is special about it.
    pub flags: PathFlags,
    /// What is done to its packets.
    pub change: Change<F>,
    /// How they leave.
    pub exit: Exit,
    /// When it was first noted.
    pub since: Tick,
    /// Packets repeated since it was first noted.
    pub packets: u64,
    /// Bytes of these, from the link layer header on.
    pub bytes: u64,
}

impl<F: Family> Change<F> {
    /// Both ports as one word, as [`PathKey::ports`].
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.source_port.to_wire() as u32 | (self.destination_port.to_wire() as u32) << 16
    }

    /// Whether packets of this key keep their addresses and ports.
    #[inline(always)]
    pub fn is_none(&self, key: &PathKey<F>) -> bool {
        self.source == key.source && self.destination == key.destination && self.ports() == key.ports()
    }

    /// The key of what answers packets that have left like this, which came with this [`PathKey::protocol`].
    #[inline(always)]
    pub const fn back(&self, exit: &Exit, protocol: u32) -> PathKey<F> {
        // What answers a query, and what an answer is to.
        let protocol = if protocol as u8 == F::ICMP { protocol ^ ANSWER } else { protocol };
        PathKey {
            edge: exit.edge,
            vlan: exit.vlan,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
        }
    }
}

impl<F: Family> Path<F> {
    /// [`Path::until`] of what is being written, or is none.
    pub const NEVER: Timestamp = Timestamp::new(0);

    /// Whether a packet may take it now, as far as time and epoch go.
    #[inline(always)]
    pub const fn holds(until: Timestamp, epoch: u32, now: Timestamp, present: u32) -> bool {
        now.number() < until.number() && epoch == present
    }
}

/// How long a path noted now holds: up to a quarter less than the interval, by the lowest eight bits of
/// `seed`, so that not all ask again at once, and nobody can tell when one asks.
#[inline(always)]
pub const fn spread(interval: Nanoseconds, seed: u32) -> Nanoseconds {
    Nanoseconds::new(interval.number() - ((interval.number() >> 10) * (seed as u64 & 0xff)))
}

/// The interval of a path that is as young as this, or younger. Three quarters of it are more than two seconds.
const YOUNG: Nanoseconds = Nanoseconds::new(2_800_000_000);

/// The interval of a path that was first noted so long ago. Conntrack takes a UDP flow for one that lasts (`ASSURED`)
/// when it sees a packet of it after two seconds; until then the flow is the first to go where the table is full.
/// And nobody is to keep flows that were never answered in natbpf's own table for longer by a few packets of each.
#[inline(always)]
pub const fn interval_at(age: Nanoseconds, interval: Nanoseconds, protocol: u8) -> Nanoseconds {
    let is_young = protocol != TCP && age.number() < YOUNG.number();
    if is_young && interval.number() > YOUNG.number() { YOUNG } else { interval }
}

/// How old a path is that was first noted then, and held until then. What comes after a rest begins anew: its flow may
/// be another one.
#[inline(always)]
pub const fn age(since: Tick, until: Timestamp, now: Timestamp) -> Nanoseconds {
    if until.number() + YOUNG.number() < now.number() { Nanoseconds::new(0) } else { since.age(now.tick()) }
}

const _: () = assert!(size_of::<Path<V4>>() == 112 && size_of::<Path<V6>>() == 160);
const _: () = assert!(core::mem::offset_of!(Path<V4>, exit) == 64);

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::SECOND;

    proptest! {
        #[test]
        fn a_path_lasts_three_quarters_of_the_interval_and_no_longer_than_all(seconds in 1..3600u64, seed: u32) {
            let lasts = spread(seconds * SECOND, seed);
            let all = seconds * SECOND;
            prop_assert!(lasts <= all && lasts + Nanoseconds::new(1024) > 3 * (all / 4));
        }

        #[test]
        fn a_young_path_lasts_until_its_flow_is_assured(seconds in 3..3600u64, protocol: u8, age in 0..10u64, seed: u32) {
            let interval = seconds * SECOND;
            let lasts = spread(interval_at(age * SECOND, interval, protocol), seed);
            prop_assert!(lasts > 2 * SECOND);
            let right = if protocol == TCP || age > 2 { lasts + SECOND > 3 * (interval / 4) } else { lasts < 3 * SECOND };
            prop_assert!(right);
        }

        #[test]
        fn what_rests_is_young_again(since in 0..1u64 << 40, length in 0..1u64 << 34, rest in 0..1u64 << 34) {
            let (since, until) = (Timestamp::new(since), Timestamp::new(since + length));
            let now = until + Nanoseconds::new(rest);
            let found = age(since.tick(), until, now);
            let tick = Nanoseconds::new(1 << 20);
            if rest > YOUNG.number() {
                prop_assert_eq!(found, Nanoseconds::new(0));
            } else {
                prop_assert!(found <= now.since(since) + tick && found + tick >= now.since(since));
            }
        }

        #[test]
        fn it_holds_until_its_time_and_for_its_epoch(until: u64, now: u64, epoch: u32, present: u32) {
            prop_assert_eq!(Path::<V4>::holds(Timestamp::new(until), epoch, Timestamp::new(now), present), now < until && epoch == present);
            prop_assert!(!Path::<V4>::holds(Timestamp::new(0), epoch, Timestamp::new(now), epoch));
        }
    }

    #[test]
    fn what_comes_back_comes_by_the_other_edge_from_the_other_end() {
        let port = Port::new;
        let change: Change = Change {
            source: Ipv4Addr::new(192, 0, 2, 1).into(),
            destination: Ipv4Addr::new(198, 51, 100, 7).into(),
            source_port: port(40_000),
            destination_port: port(443),
            ..Change::default()
        };
        let exit = Exit { edge: IfIndex::new(7), vlan: 0x0081_0005, ..Exit::default() };
        let back = change.back(&exit, 6);
        assert_eq!((back.edge, back.vlan, back.protocol), (IfIndex::new(7), 0x0081_0005, 6));
        assert_eq!((back.source, back.destination), (change.destination, change.source));
        assert_eq!((back.source_port, back.destination_port), (port(443), port(40_000)));
    }
}
