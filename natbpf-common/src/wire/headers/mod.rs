//! From bytes to headers. Everything that a NAT must not believe is checked here.
//!
//! Generic over [`Packet`], so that the same code runs in the kernel, in host tests and under a fuzzer, and over the
//! [`Family`]. Where IPv4 alone is followed, [`Headers::read`] does all of it. Where both are, there is one branch:
//!
//! ```
//! use natbpf_common::wire::{family::V6, headers::{Headers, Located, locate}, packet::Packet};
//!
//! fn hops(packet: &mut impl Packet) -> Option<u8> {
//!     match locate(packet, 14)? {
//!         Located::V4(offset) => {
//!             let mut headers = <Headers>::default();
//!             headers.read_at(packet, offset)?;
//!             Some(headers.time_to_live)
//!         }
//!         Located::V6(offset) => {
//!             let mut headers = Headers::<V6>::default();
//!             headers.read_at(packet, offset)?;
//!             Some(headers.time_to_live)
//!         }
//!     }
//! }
//! ```

use network_types::{tcp::TcpHdr, udp::UdpHdr};

use super::{
    Port,
    family::{Family, V4},
    packet::{Packet, view},
    protocol::{self, icmp},
    segment::{self, TcpFlags},
};

mod link;
mod v4;
mod v6;

pub use link::{Located, locate};

const ICMP_HEADER: usize = 8;

/// The headers of a packet, of IPv4 unless it is said otherwise. Plain numbers alone, since a global function of the
/// datapath fills it; words without a rest.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct Headers<F: Family = V4> {
    /// Offset of the IP header in the packet.
    pub network: u32,
    /// Offset of what follows it, and with IPv6 its extension headers.
    pub transport: u32,
    /// Bytes from there on, by the header's word.
    pub payload: u32,
    /// Address that the packet comes from.
    pub source: F::Address,
    /// Address that the packet goes to.
    pub destination: F::Address,
    /// For ICMP queries see [`FlowKey`](crate::flow::FlowKey); zero without ports.
    pub source_port: Port,
    /// As `source_port`.
    pub destination_port: Port,
    /// Checksum of the IPv4 header, as it stands there. IPv6 has none: 0.
    pub checksum: u16,
    /// What is at `transport`. Of later fragments in IPv6 it is what was behind the first one's fragment
    /// header, which may be another extension header.
    pub protocol: u8,
    /// The flags of a TCP segment; otherwise none.
    pub tcp_flags: TcpFlags,
    /// A [`Kind`].
    pub kind: u32,
    /// Identification of the datagram, as it stands in the packet. Of a plain packet of IPv6, which has none, the flow
    /// label.
    pub identification: F::Identification,
    /// The flag "more fragments" and the fragment's offset in units of 8 bytes, host order.
    pub fragment: u16,
    /// ICMP messages' type.
    pub icmp_type: u8,
    /// With IPv6 the hop limit.
    pub time_to_live: u8,
    /// Length of a TCP segment's header.
    pub tcp_header: u8,
    /// Type of service, with IPv6 the traffic class: DSCP and ECN.
    pub service: u8,
}

/// What can be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// It may begin a flow. First fragments are among these.
    Forward = 0,
    /// An ICMP reply.
    IcmpReply = 1,
    /// An ICMP message about another packet, which it quotes.
    IcmpError = 2,
    /// Any other ICMP message.
    IcmpOther = 3,
    /// A fragment that is not the first: it has no transport header.
    Fragment = 4,
    /// Its lengths contradict each other, or it has extension headers that no sender may send; nothing behind
    /// the addresses can be believed.
    Malformed = 5,
}

/// The flag "more fragments" of [`Headers::fragment`].
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset of [`Headers::fragment`], in units of 8 bytes.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The headers have been filled in.
    Ipv4,
    /// It has no IPv4 header.
    NotIpv4,
    /// Cut short before the end of the addresses.
    CutShort,
}

/// A family whose headers are read here.
pub trait Network: Family {
    /// Reads the IP header at an offset. `None`: cut short before the end of the addresses.
    ///
    /// With a [`Kind`] that says whether a transport header is to be read: [`Kind::Forward`].
    fn read_network<P: Packet>(headers: &mut Headers<Self>, packet: &mut P, offset: u32) -> Option<()>;
}

impl<F: Network> Headers<F> {
    /// Reads the headers of a packet whose IP header is at this offset, into headers that are all zero.
    /// `None`: cut short before the end of the addresses.
    #[inline(always)]
    pub fn read_at<P: Packet>(&mut self, packet: &mut P, offset: u32) -> Option<()> {
        F::read_network(self, packet, offset)?;
        self.read_contents(packet);
        Some(())
    }
}

impl<F: Family> Headers<F> {
    /// Reads what is behind the IP header, if it is known to be a transport header.
    #[inline(always)]
    fn read_contents<P: Packet>(&mut self, packet: &mut P) {
        // Row S35.
        if self.is(Kind::Forward) && self.read_transport(packet).is_none() {
            self.kind = Kind::Malformed as u32;
        }
    }

    /// `None`: cut short, or lengths that contradict each other.
    #[inline(always)]
    fn read_transport<P: Packet>(&mut self, packet: &mut P) -> Option<()> {
        let offset = self.transport;
        match self.protocol {
            protocol::TCP => {
                let header = view::<P, { TcpHdr::LEN }>(packet, offset)?;
                let length = (header.u8::<12>() as u32 & 0xf0) >> 2;
                self.tcp_header = length as u8;
                self.tcp_flags = TcpFlags::from_bits_retain(header.u8::<13>());
                // Row S33.
                if self.payload < length || length < TcpHdr::LEN as u32 || !segment::plausible(self.tcp_flags)
                {
                    return None;
                }
                self.source_port = Port::from_wire(header.u16::<0>());
                self.destination_port = Port::from_wire(header.u16::<2>());
            }
            protocol::UDP => {
                let header = view::<P, { UdpHdr::LEN }>(packet, offset)?;
                let length = u16::from_be(header.u16::<4>()) as u32;
                // The length is that of all fragments together. Rows S22, S34.
                let least = if self.fragment == 0 { length } else { UdpHdr::LEN as u32 };
                if self.payload < least || length < UdpHdr::LEN as u32 {
                    return None;
                }
                self.source_port = Port::from_wire(header.u16::<0>());
                self.destination_port = Port::from_wire(header.u16::<2>());
            }
            protocol if protocol == F::ICMP => {
                let header = view::<P, ICMP_HEADER>(packet, offset)?;
                if self.payload < ICMP_HEADER as u32 {
                    return None;
                }
                let identifier = Port::from_wire(header.u16::<4>());
                self.icmp_type = header.u8::<0>();
                match F::classify(self.icmp_type) {
                    icmp::Message::Request(request) => {
                        self.source_port = identifier;
                        self.destination_port = Port::new(request as u16);
                    }
                    icmp::Message::Reply(request) => {
                        self.source_port = Port::new(request as u16);
                        self.destination_port = identifier;
                        self.kind = Kind::IcmpReply as u32;
                    }
                    icmp::Message::Error => self.kind = Kind::IcmpError as u32,
                    icmp::Message::Other => self.kind = Kind::IcmpOther as u32,
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Whether it is of this kind.
    #[inline(always)]
    pub const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }

    /// One of several fragments of a datagram.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment != 0
    }
}
