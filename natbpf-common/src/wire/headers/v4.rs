//! The IPv4 header (RFC 791), and what a translation changes of a packet that has one.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv4Hdr,
};

use super::{FRAGMENT_OFFSET, Found, Headers, Kind, MORE_FRAGMENTS, Network, link::network_offset};
use crate::wire::{
    Address, Port, checksum,
    family::V4,
    packet::{End, Packet, Touched, Translation, view},
    protocol::Transport,
    segment::TcpFlags,
};

/// Shorter frames are filled up to this (`ETH_ZLEN`).
const SHORTEST_FRAME: u32 = 60;

impl Network for V4 {
    #[inline(always)]
    fn read_network<P: Packet>(headers: &mut Headers, packet: &mut P, offset: u32) -> Option<()> {
        let header = view::<P, { Ipv4Hdr::LEN }>(packet, offset)?;
        let version_and_length = header.u8::<0>();
        let header_length = ((version_and_length & 0x0f) as u32) << 2;
        let mut total = u16::from_be(header.u16::<2>()) as u32;
        headers.fragment = u16::from_be(header.u16::<6>()) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
        headers.identification = header.u16::<4>();
        headers.network = offset;
        headers.transport = offset + header_length;
        headers.source = Address::from_wire(header.u32::<12>());
        headers.destination = Address::from_wire(header.u32::<16>());
        headers.time_to_live = header.u8::<8>();
        headers.service = header.u8::<1>();
        headers.protocol = header.u8::<9>();
        headers.checksum = header.u16::<10>();
        let present = packet.length() - offset;
        if total == 0 && packet.is_gso() {
            // Over 64 KiB ("BIG TCP") the field says nothing. Row X02.
            total = present;
        }
        // What a frame is filled up with is no payload. Row F20.
        headers.payload = total.wrapping_sub(header_length);
        // The kernel lets none of these through. Rows F04, S30, S31.
        let malformed = version_and_length >> 4 != 4
            || header_length < Ipv4Hdr::LEN as u32
            || total < header_length
            || total > present;
        headers.kind = match (malformed, headers.fragment & FRAGMENT_OFFSET) {
            (true, _) => Kind::Malformed,
            (_, 0) => Kind::Forward,
            _ => Kind::Fragment,
        } as u32;
        Some(())
    }
}

impl Headers {
    /// Reads the headers of a packet that begins with a link layer header of this length.
    #[inline(always)]
    pub fn read<P: Packet>(&mut self, packet: &mut P, link_header: u32) -> Found {
        let Some(offset) = network_offset(packet, link_header) else { return Found::NotIpv4 };
        if V4::read_network(self, packet, offset).is_none() {
            return Found::CutShort;
        }
        self.read_contents(packet);
        Found::Ipv4
    }

    /// The headers of a frame that has nothing special: no tag in it, IPv4 without options, no fragment,
    /// nothing behind the packet but Ethernet's padding. `None`: it is another, or something is wrong with
    /// it; [`Headers::read`] tells what.
    ///
    /// The same as that, with every offset known beforehand: a few loads for those packets that are most of
    /// all. What the kernel refuses or cuts off on its path (`ip_rcv`: a wrong checksum, bytes behind the end)
    /// is looked at here, since these packets may not take that path.
    #[inline(always)]
    pub fn plain<P: Packet>(packet: &mut P) -> Option<Self> {
        const NETWORK: u32 = EthHdr::LEN as u32;
        const LENGTH: u32 = Ipv4Hdr::LEN as u32;
        const VERSION_AND_LENGTH: u8 = 4 << 4 | (LENGTH / 4) as u8;
        let frame = view::<P, { EthHdr::LEN + Ipv4Hdr::LEN }>(packet, 0)?;
        let fragment = frame.u16::<20>() & (MORE_FRAGMENTS | FRAGMENT_OFFSET).to_be();
        // What has options takes the path of the kernel, which refuses wrong ones. Row S32.
        if frame.u16::<12>() != EtherType::Ipv4 as u16
            || frame.u8::<14>() != VERSION_AND_LENGTH
            || fragment != 0
        {
            return None;
        }
        let present = packet.length() - NETWORK;
        let total = match u16::from_be(frame.u16::<16>()) as u32 {
            0 if packet.is_gso() => present,
            total => total,
        };
        if total < LENGTH || total > present || total != present && present > SHORTEST_FRAME - NETWORK {
            return None;
        }
        let words =
            [frame.u32::<14>(), frame.u32::<18>(), frame.u32::<22>(), frame.u32::<26>(), frame.u32::<30>()];
        // Row F05.
        if !checksum::is_right(words) {
            return None;
        }
        let mut headers = Self {
            network: NETWORK,
            transport: NETWORK + LENGTH,
            payload: total - LENGTH,
            source: Address::from_wire(frame.u32::<26>()),
            destination: Address::from_wire(frame.u32::<30>()),
            checksum: frame.u16::<24>(),
            protocol: frame.u8::<23>(),
            identification: frame.u16::<18>(),
            time_to_live: frame.u8::<22>(),
            kind: Kind::Forward as u32,
            source_port: Port::from_wire(0),
            destination_port: Port::from_wire(0),
            tcp_flags: TcpFlags::empty(),
            fragment: 0,
            icmp_type: 0,
            tcp_header: 0,
            service: frame.u8::<15>(),
        };
        headers.read_transport(packet)?;
        Some(headers)
    }

    /// The IPv4 header's checksum after a translation, with so many hops less of time to live. Row F01.
    #[inline(always)]
    pub const fn checksum_after(&self, translation: Option<&Translation>, hops: u8) -> u16 {
        // Time to live and protocol are one word of the sum.
        let old = u16::from_ne_bytes([self.time_to_live, self.protocol]);
        let new = u16::from_ne_bytes([self.time_to_live - hops, self.protocol]);
        let sum = match translation {
            Some(translation) => checksum::replace_address(self.checksum, translation.old, translation.new),
            None => self.checksum,
        };
        if hops == 0 { sum } else { checksum::replace_half(sum, old, new) }
    }

    /// The translation that gives one end of the packet this address and port.
    #[inline(always)]
    pub fn translation(&self, end: End, address: Address, port: Port) -> Translation {
        let (old, other, old_port, side, direction) = match end {
            End::Source => (self.source, self.destination, self.source_port, 0, Touched::empty()),
            End::Destination => {
                (self.destination, self.source, self.destination_port, 2, Touched::DESTINATION)
            }
        };
        let (checksum, port_offset, covers) = match Transport::of(self.protocol) {
            Transport::Tcp => (16, side, Touched::PSEUDO_HEADER),
            Transport::Udp => (6, side, Touched::PSEUDO_HEADER.union(Touched::ZERO_IS_NONE)),
            Transport::Icmp => (2, 4, Touched::empty()),
            // A header too short for its checksum is left to the receiver.
            Transport::Other { checksum: Some(at) } if self.payload >= at as u32 + 2 => {
                (at as u32, 0, Touched::PSEUDO_HEADER)
            }
            Transport::Other { .. } => (0, 0, Touched::empty()),
        };
        Translation {
            network: self.network,
            checksum: if checksum == 0 { 0 } else { self.transport + checksum },
            port: if port == old_port { 0 } else { self.transport + port_offset },
            old,
            new: address,
            other,
            old_port,
            new_port: port,
            network_checksum: self.checksum,
            flags: direction.union(covers),
        }
    }
}
