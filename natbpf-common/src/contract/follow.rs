//! What `natbpf why` asks the kernel to follow, and what it is told of a packet at each point of its way. Nothing of it
//! is pinned.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{
    Address6, Port,
    segment::{RST, TcpFlags},
};

/// Both ends of a packet, those of IPv4 mapped. An ICMP query has its identifier in the place of both ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ends {
    /// Address that it comes from.
    pub source: Address6,
    /// Address that it goes to.
    pub destination: Address6,
    /// Port that it comes from.
    pub source_port: Port,
    /// Port that it goes to.
    pub destination_port: Port,
    /// Number of the protocol.
    pub protocol: u32,
}

impl Ends {
    /// Those of the answer.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// Whether a translation may have made the one of the other: it changes one end at a time.
    #[inline(always)]
    pub fn may_become(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && (self.source == other.source || self.destination == other.destination)
    }
}

/// Where the kernel keeps what is read, in bytes from the beginning of its structures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offsets {
    /// `sk_buff.dev`
    pub device: u32,
    /// `sk_buff.head`
    pub head: u32,
    /// `sk_buff.data`
    pub data: u32,
    /// `sk_buff.network_header`
    pub network_header: u32,
    /// `sk_buff.protocol`
    pub protocol: u32,
    /// `net_device.ifindex`
    pub index: u32,
    /// `net_device.name`
    pub name: u32,
    /// `net_device.nd_net`
    pub namespace: u32,
    /// `net.net_cookie`
    pub cookie: u32,
    /// `sk_buff.sk`
    pub socket: u32,
    /// `sock_common.skc_net`
    pub socket_namespace: u32,
    /// Always 0.
    pub padding: u32,
}

/// The first packet to look out for, where it is not known beforehand. What is 0 may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pattern {
    /// Where it may begin: received by this device, or in the instance's own network namespace.
    pub edge_namespace: u64,
    /// Cookie of the instance's own.
    pub instance_namespace: u64,
    /// Index of the device.
    pub edge: u32,
    /// 1: look out. The first packet that is found makes it 0.
    pub armed: u32,
    /// Address that it comes from.
    pub source: Address6,
    /// Address that it goes to.
    pub destination: Address6,
    /// Number of its protocol.
    pub protocol: u32,
    /// Port that it goes to.
    pub port: Port,
    /// Always 0.
    pub padding: u16,
}

/// All that the programs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Orders {
    /// What to look out for.
    pub pattern: Pattern,
    /// How packets are read.
    pub offsets: Offsets,
}

/// Somebody asks for a neighbour, by the number of ARP (RFC 826).
pub const REQUEST: u32 = 1;
/// The answer.
pub const REPLY: u32 = 2;

/// Where in the kernel a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Point {
    /// A device has received it.
    Received = 1,
    /// A device is to send it, and its queueing discipline comes first.
    Queued = 2,
    /// Its driver has it.
    Sent = 3,
    /// Its way has ended as it should: somebody has taken it.
    Consumed = 4,
    /// Its way has ended otherwise.
    Dropped = 5,
    /// An answer to a probe has come to the edge. It is not handed to the instance, which has not asked.
    Answered = 6,
}

impl Point {
    /// The one that has this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Received,
            2 => Self::Queued,
            3 => Self::Sent,
            4 => Self::Consumed,
            5 => Self::Dropped,
            6 => Self::Answered,
            _ => return None,
        })
    }
}

/// What a packet is to the flow that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Part {
    /// From the instance to the destination.
    Original = 1,
    /// The other way.
    Reply = 2,
    /// An ICMP error that quotes one of the original direction.
    ErrorOfOriginal = 3,
    /// The same of the reply direction.
    ErrorOfReply = 4,
    /// ARP or neighbour discovery, about an address that matters.
    Neighbour = 5,
}

impl Part {
    /// The one that has this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Original,
            2 => Self::Reply,
            3 => Self::ErrorOfOriginal,
            4 => Self::ErrorOfReply,
            5 => Self::Neighbour,
            _ => return None,
        })
    }

    /// That of the packets the other way.
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            _ => Self::Original,
        }
    }
}

/// What was seen of a packet.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sight {
    /// By the clock of `CLOCK_MONOTONIC`, in nanoseconds.
    pub time: u64,
    /// Address of its buffer.
    pub buffer: u64,
    /// Address of the code that let go of it.
    pub location: u64,
    /// Cookie of the network namespace of its device.
    pub namespace: u64,
    /// As they are at this point. An ICMP error: its own addresses. ARP and neighbour discovery: who asks and about
    /// whom, or who answers and whom, with [`REQUEST`] or [`REPLY`] as the protocol.
    pub ends: Ends,
    /// A [`Point`].
    pub point: u32,
    /// A [`Part`].
    pub part: u32,
    /// Index of the device; 0: it has none.
    pub device: u32,
    /// Of a drop, as in the kernel's `enum skb_drop_reason`.
    pub reason: u32,
    /// Bytes, from the IP header on.
    pub length: u32,
    /// Of ICMP: type and code, as one number.
    pub icmp: u32,
    /// Of an ICMP error that says the packet is too big.
    pub mtu: u32,
    /// Of TCP: the flags, as they are in the header; 0 of others.
    pub flags: u32,
    /// Of TCP: the sequence number.
    pub sequence: u32,
    /// As it is in the header.
    pub time_to_live: u32,
    /// Of ARP and neighbour discovery: the hardware address of who asks or answers, and two zeros.
    pub sender: [u8; 8],
    /// Name of the device, with zeros behind it.
    pub name: [u8; 16],
}

impl Sight {
    /// Of TCP.
    pub const fn tcp_flags(&self) -> TcpFlags {
        TcpFlags::from_bits_retain(self.flags as u8)
    }

    /// Whether it ends a connection of TCP, or says that there is none.
    pub const fn is_reset(&self) -> bool {
        self.tcp_flags().contains(RST)
    }
}

/// A buffer that is followed.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Buffer {
    /// As they were at the last point.
    pub ends: Ends,
    /// A [`Part`].
    pub part: u32,
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Ends {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Orders {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: u32, destination: u32) -> Ends {
        Ends {
            source: Address6::from_wire([0, 0, 0, source]),
            destination: Address6::from_wire([0, 0, 0, destination]),
            source_port: Port::from_wire(7),
            destination_port: Port::from_wire(8),
            protocol: 17,
        }
    }

    #[test]
    fn the_answer_goes_back() {
        let back = ends(1, 2).reversed();
        assert_eq!((back.source.to_wire()[3], back.destination_port.to_wire()), (2, 7));
        assert_eq!(back.reversed(), ends(1, 2));
    }

    #[test]
    fn a_translation_changes_one_end() {
        assert!(ends(1, 2).may_become(&ends(3, 2)));
        assert!(ends(1, 2).may_become(&ends(1, 3)));
        assert!(!ends(1, 2).may_become(&ends(3, 4)));
    }

    #[test]
    fn points_and_parts_have_their_numbers() {
        for number in 0..8 {
            assert_eq!(Point::from_number(number).map_or(number, |point| point as u32), number);
            assert_eq!(Part::from_number(number).map_or(number, |part| part as u32), number);
        }
    }
}
