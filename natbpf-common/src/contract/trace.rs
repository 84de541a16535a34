//! What `natbpf trace` and its programs say to each other: which packets it asks for, and what they saw.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{contract::counter::Counters, interface::IfIndex, time::Timestamp};

/// So much is shown of a packet that matches the filter only after the program.
pub const HEAD: usize = 128;

/// What packets must have to be shown; a bit that is not set asks for nothing.
pub mod asks {
    /// [`super::Filter::protocol`]
    pub const PROTOCOL: u32 = 1 << 0;
    /// [`super::Filter::source`]
    pub const SOURCE: u32 = 1 << 1;
    /// [`super::Filter::destination`]
    pub const DESTINATION: u32 = 1 << 2;
    /// [`super::Filter::sport`]
    pub const SPORT: u32 = 1 << 3;
    /// [`super::Filter::dport`]
    pub const DPORT: u32 = 1 << 4;
}

/// Addresses of either family: those of IPv4 stand in the first four bytes, as on the wire.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Network {
    /// Its first address.
    pub address: [u64; 2],
    /// The bits that count.
    pub mask: [u64; 2],
}

impl Network {
    /// Whether an address is in it.
    #[inline(always)]
    pub const fn contains(&self, address: [u64; 2]) -> bool {
        (address[0] ^ self.address[0]) & self.mask[0] == 0
            && (address[1] ^ self.address[1]) & self.mask[1] == 0
    }
}

/// Which packets are asked for. The two directions of a flow match alike: where a source is asked for, a packet with it
/// as its destination matches, too, if all the rest does when seen from there.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Filter {
    /// Of the one who sends.
    pub source: Network,
    /// Of the one who gets.
    pub destination: Network,
    /// Bits of [`asks`].
    pub asks: u32,
    /// IP version of the networks; 0: none is asked for.
    pub version: u32,
    /// Number of the protocol.
    pub protocol: u32,
    /// Source port, as on the wire.
    pub sport: u16,
    /// Destination port, as on the wire.
    pub dport: u16,
}

/// What a filter looks at in a packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tuple {
    /// Source address.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
    /// IP version; 0: it is no IP.
    pub version: u32,
    /// Number of the protocol.
    pub protocol: u32,
    /// Source port, as on the wire.
    pub sport: u16,
    /// Destination port, as on the wire.
    pub dport: u16,
    /// Whether there are ports.
    pub has_ports: bool,
}

impl Filter {
    /// Whether anything is asked for by this bit of [`asks`].
    #[inline(always)]
    pub const fn asks(&self, bit: u32) -> bool {
        self.asks & bit != 0
    }

    /// Whether a packet, or one the other way round, is asked for.
    #[inline(always)]
    pub const fn matches(&self, tuple: &Tuple) -> bool {
        if self.asks(asks::PROTOCOL) && (self.protocol != tuple.protocol || tuple.version == 0)
            || self.version != 0 && self.version != tuple.version
            || self.asks(asks::SPORT | asks::DPORT) && !tuple.has_ports
        {
            return false;
        }
        self.one_way(tuple.source, tuple.destination, tuple.sport, tuple.dport)
            || self.one_way(tuple.destination, tuple.source, tuple.dport, tuple.sport)
    }

    #[inline(always)]
    const fn one_way(&self, source: [u64; 2], destination: [u64; 2], sport: u16, dport: u16) -> bool {
        (!self.asks(asks::SOURCE) || self.source.contains(source))
            && (!self.asks(asks::DESTINATION) || self.destination.contains(destination))
            && (!self.asks(asks::SPORT) || self.sport == sport)
            && (!self.asks(asks::DPORT) || self.dport == dport)
    }
}

/// What the datapath is asked to show: the one value of its map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// Packets are looked at until this time of the datapath's clock; whoever reads them keeps it in the future.
    pub until: u64,
    /// Who that is: a number that no other has.
    pub owner: u64,
    /// Which packets.
    pub filter: Filter,
    /// So many bytes of a packet are taken at most.
    pub snaplen: u32,
    /// Packets at this device only; none: at all.
    pub interface: IfIndex,
}

/// Programs that packets pass, as places where they are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Spot {
    /// In by an uplink.
    UplinkIngress = 0,
    /// Out of an uplink.
    UplinkEgress = 1,
    /// In by an inside interface, where hairpinning is on.
    InsideIngress = 2,
    /// In by an edge.
    EdgeIngress = 3,
    /// Out of an edge.
    EdgeEgress = 4,
    /// In by an edge, in its driver.
    EdgeXdp = 5,
}

impl Spot {
    /// Each stands at the index that is its number.
    pub const ALL: [Self; 6] = [
        Self::UplinkIngress,
        Self::UplinkEgress,
        Self::InsideIngress,
        Self::EdgeIngress,
        Self::EdgeEgress,
        Self::EdgeXdp,
    ];

    /// Name of the program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UplinkIngress => "uplink_ingress",
            Self::UplinkEgress => "uplink_egress",
            Self::InsideIngress => "inside_ingress",
            Self::EdgeIngress => "edge_ingress",
            Self::EdgeEgress => "edge_egress",
            Self::EdgeXdp => "edge_xdp",
        }
    }

    /// How many packets can be in programs of one processor at a time: one in each, and one more in
    /// [`UplinkEgress`](Self::UplinkEgress), which sends copies of fragments to itself.
    pub const SLOTS: usize = Self::ALL.len() + 1;

    /// The slot of a copy that `uplink_egress` has sent to itself.
    pub const COPY: usize = Self::ALL.len();

    /// Whether packets leave the host, or the bridge, by the device there.
    pub const fn is_egress(self) -> bool {
        matches!(self, Self::UplinkEgress | Self::EdgeEgress)
    }
}

/// In the place of a verdict: copies of the packet, and of fragments that waited for it, have gone on.
pub const REPLAYED: i32 = 1 << 8;

/// A packet as it was seen before or after a program; its first bytes follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sight {
    /// When, by the kernel's monotonic clock, exactly.
    pub time: Timestamp,
    /// Counts the packets of one processor at one spot, with copies apart: the same before and after.
    pub passage: u64,
    /// After: a bit for each [`Counter`](super::counter::Counter) that the program has counted up.
    pub counted: u64,
    /// Number of a [`Spot`].
    pub spot: u32,
    /// Number of the processor.
    pub cpu: u32,
    /// The device.
    pub interface: IfIndex,
    /// Bytes of the whole packet.
    pub length: u32,
    /// Bytes of it that follow.
    pub captured: u32,
    /// The tag beside the packet: protocol and TCI; 0: none.
    pub tag: u32,
    /// Bytes of payload of each segment that the packet stands for; 0: it stands for itself.
    pub gso_size: u32,
    /// How many segments it stands for.
    pub gso_segments: u32,
    /// Whether this is after the program.
    pub after: u32,
    /// After: what the program answers, or [`REPLAYED`].
    pub verdict: i32,
    /// After: index of the device that it was redirected to last; none: this kernel does not tell.
    pub target: IfIndex,
    /// Always 0.
    pub padding: u32,
}

/// What is remembered of the packet that is in a program; one a processor and slot ([`Spot::SLOTS`]).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Passing {
    /// Whether it is looked at.
    pub is_looked_at: u64,
    /// Whether it was shown before the program.
    pub is_shown: u64,
    /// The datapath's counters before it.
    pub counters: Counters,
    /// How many times there was no room for a packet that was seen.
    pub lost: u64,
    /// What is known of the packet before it.
    pub before: Sight,
    /// Its first bytes before it. They stand behind `before` so that both are written at once.
    pub head: [u8; HEAD],
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)` without padding, as its derives check, and any bytes are valid.
    unsafe impl aya::Pod for super::Request {}

    // SAFETY: as above.
    unsafe impl aya::Pod for super::Passing {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: Network = Network { address: [0x0a00, 0], mask: [0xff00, 0] };

    fn tuple() -> Tuple {
        Tuple {
            source: [0x0a01, 0],
            destination: [0xcb00, 0],
            version: 4,
            protocol: 6,
            sport: 5000,
            dport: 80,
            has_ports: true,
        }
    }

    fn back(tuple: &Tuple) -> Tuple {
        Tuple {
            source: tuple.destination,
            destination: tuple.source,
            sport: tuple.dport,
            dport: tuple.sport,
            ..*tuple
        }
    }

    #[test]
    fn both_directions_match_alike() {
        let all = Filter {
            source: NET,
            version: 4,
            protocol: 6,
            dport: 80,
            asks: asks::SOURCE | asks::PROTOCOL | asks::DPORT,
            ..Filter::default()
        };
        assert!(all.matches(&tuple()) && all.matches(&back(&tuple())));
        // The port is the other end's, not that of the network.
        let other = Tuple { sport: 80, dport: 5000, ..tuple() };
        assert!(!all.matches(&other) && !all.matches(&back(&other)));
        for wrong in [
            Tuple { protocol: 17, ..tuple() },
            Tuple { version: 6, ..tuple() },
            Tuple { version: 0, ..tuple() },
            Tuple { has_ports: false, ..tuple() },
            Tuple { source: [0x0b01, 0], ..tuple() },
        ] {
            assert!(!all.matches(&wrong) && !all.matches(&back(&wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn spots_stand_at_their_numbers() {
        for (number, spot) in Spot::ALL.iter().enumerate() {
            assert_eq!(*spot as usize, number);
        }
    }

    #[test]
    fn an_empty_filter_matches_everything() {
        assert!(Filter::default().matches(&tuple()));
        assert!(Filter::default().matches(&Tuple::default()));
    }
}
