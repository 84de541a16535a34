//! From bytes to headers. Everything that a NAT must not believe is checked here.

use natbpf_common::{
    Address, Port,
    counter::Counter,
    flow::{Direction, FlowKey},
    protocol::{self, Transport, icmp},
};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv4Hdr,
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::packet::{Checksum, End, Packet, PortChange, Translation, view};

const ICMP_HEADER: usize = 8;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff_u16.to_be();

/// An IPv4 header.
pub struct Network {
    /// Offset of the header in the packet.
    pub offset: u32,
    header_length: u32,
    /// Bytes after the header, by the header's word.
    payload: u32,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    checksum: u16,
    /// It is a fragment: the first, the last or between.
    fragment: bool,
    /// Its lengths contradict each other; nothing behind the addresses can be believed.
    malformed: bool,
}

/// What follows it.
pub struct Segment {
    /// For ICMP queries see [`FlowKey`]; zero without ports.
    pub source_port: Port,
    pub destination_port: Port,
    pub tcp_flags: u8,
    /// [`icmp::Message::Other`] for everything that is not ICMP.
    pub message: icmp::Message,
}

/// Finds the IPv4 header. `None`: it is not IPv4. An error: it is cut short before the end of the addresses.
#[inline(always)]
pub fn network<P: Packet>(packet: &mut P, link_header: u32) -> Result<Option<Network>, Counter> {
    let Some(offset) = network_offset(packet, link_header) else { return Ok(None) };
    let header = view::<P, { Ipv4Hdr::LEN }>(packet, offset).ok_or(Counter::Malformed)?;
    let version_and_length = header.u8::<0>();
    let header_length = ((version_and_length & 0x0f) as u32) << 2;
    let mut total = u16::from_be(header.u16::<2>()) as u32;
    let network = Network {
        offset,
        header_length,
        payload: 0,
        source: Address::from_wire(header.u32::<12>()),
        destination: Address::from_wire(header.u32::<16>()),
        protocol: header.u8::<9>(),
        checksum: header.u16::<10>(),
        fragment: header.u16::<6>() & MORE_FRAGMENTS_OR_OFFSET != 0,
        malformed: false,
    };
    let present = packet.length() - offset;
    if total == 0 && packet.is_gso() {
        // Over 64 KiB ("BIG TCP") the field says nothing.
        total = present;
    }
    let malformed = version_and_length >> 4 != 4
        || header_length < Ipv4Hdr::LEN as u32
        || total < header_length
        || total > present;
    Ok(Some(Network { payload: total.wrapping_sub(header_length), malformed, ..network }))
}

/// Skips the link layer header and up to two VLAN tags that are in the frame. Tags in the buffer's metadata
/// need nothing.
///
/// Without a branch on the tags, so that the verifier follows the rest of the program once and not once for
/// each number of them.
#[inline(always)]
fn network_offset<P: Packet>(packet: &mut P, link_header: u32) -> Option<u32> {
    if link_header == 0 {
        return if packet.is_ipv4() { Some(0) } else { None };
    }
    let mut offset = EthHdr::LEN as u32;
    for _ in 0..2 {
        let ether_type = view::<P, 2>(packet, offset - 2)?.u16::<0>();
        offset += VlanHdr::LEN as u32 * is_tag(ether_type);
    }
    let ether_type = view::<P, 2>(packet, offset - 2)?.u16::<0>();
    if ether_type == EtherType::Ipv4 as u16 { Some(offset) } else { None }
}

/// 1 for the type of a VLAN tag, 0 for others.
#[inline(always)]
fn is_tag(ether_type: u16) -> u32 {
    let mut difference = (ether_type ^ EtherType::Ieee8021q as u16) as u32
        * (ether_type ^ EtherType::Ieee8021ad as u16) as u32;
    // SAFETY: no instruction. It keeps LLVM from seeing the comparison, which it would make a branch of.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) difference, options(pure, nomem, nostack, preserves_flags));
    };
    1 - ((difference | difference.wrapping_neg()) >> 31)
}

impl Segment {
    /// That of a packet whose transport header cannot be read.
    #[inline(always)]
    pub const fn none() -> Self {
        Self {
            source_port: Port::from_wire(0),
            destination_port: Port::from_wire(0),
            tcp_flags: 0,
            message: icmp::Message::Other,
        }
    }
}

impl Network {
    /// Offset of what follows the header.
    #[inline(always)]
    fn transport(&self) -> u32 {
        self.offset + self.header_length
    }

    /// Reads the transport header.
    #[inline(always)]
    pub fn segment<P: Packet>(&self, packet: &mut P) -> Result<Segment, Counter> {
        if self.malformed {
            return Err(Counter::Malformed);
        }
        if self.fragment {
            return Err(Counter::Fragment);
        }
        let offset = self.transport();
        let mut segment = Segment::none();
        match self.protocol {
            protocol::TCP => {
                let header = view::<P, { TcpHdr::LEN }>(packet, offset).ok_or(Counter::Malformed)?;
                let length = (header.u8::<12>() as u32 & 0xf0) >> 2;
                if self.payload < length || length < TcpHdr::LEN as u32 {
                    return Err(Counter::Malformed);
                }
                segment.source_port = Port::from_wire(header.u16::<0>());
                segment.destination_port = Port::from_wire(header.u16::<2>());
                segment.tcp_flags = header.u8::<13>();
            }
            protocol::UDP => {
                let header = view::<P, { UdpHdr::LEN }>(packet, offset).ok_or(Counter::Malformed)?;
                let length = u16::from_be(header.u16::<4>()) as u32;
                if self.payload < length || length < UdpHdr::LEN as u32 {
                    return Err(Counter::Malformed);
                }
                segment.source_port = Port::from_wire(header.u16::<0>());
                segment.destination_port = Port::from_wire(header.u16::<2>());
            }
            protocol::ICMP => {
                let header = view::<P, ICMP_HEADER>(packet, offset).ok_or(Counter::Malformed)?;
                if self.payload < ICMP_HEADER as u32 {
                    return Err(Counter::Malformed);
                }
                let identifier = Port::from_wire(header.u16::<4>());
                segment.message = icmp::classify(header.u8::<0>());
                match segment.message {
                    icmp::Message::Request(request) => {
                        segment.source_port = identifier;
                        segment.destination_port = Port::new(request as u16);
                    }
                    icmp::Message::Reply(request) => {
                        segment.source_port = Port::new(request as u16);
                        segment.destination_port = identifier;
                    }
                    icmp::Message::Other => {}
                }
            }
            _ => {}
        }
        Ok(segment)
    }

    /// The key by which the flow table knows the packet.
    #[inline(always)]
    pub fn key(&self, segment: &Segment, direction: Direction) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            protocol: self.protocol,
            direction: direction as u8,
            zone: 0,
        }
    }

    /// The translation that gives one end of the packet this address and port.
    #[inline(always)]
    pub fn translation(&self, segment: &Segment, end: End, address: Address, port: Port) -> Translation {
        let (old, other, old_port) = match end {
            End::Source => (self.source, self.destination, segment.source_port),
            End::Destination => (self.destination, self.source, segment.destination_port),
        };
        let offset = self.transport();
        let side = if matches!(end, End::Source) { 0 } else { 2 };
        let sum =
            |at, pseudo_header, zero_is_none| Checksum { offset: offset + at, pseudo_header, zero_is_none };
        let (checksum, port_offset) = match Transport::of(self.protocol) {
            Transport::Tcp => (Some(sum(16, true, false)), side),
            Transport::Udp => (Some(sum(6, true, true)), side),
            Transport::Icmp => (Some(sum(2, false, false)), 4),
            // A header too short for its checksum is left to the receiver.
            Transport::Other { checksum: Some(at) } if self.payload >= at as u32 + 2 => {
                (Some(sum(at as u32, true, false)), 0)
            }
            Transport::Other { .. } => (None, 0),
        };
        Translation {
            end,
            network: self.offset,
            old,
            new: address,
            other,
            network_checksum: self.checksum,
            checksum,
            port: if port == old_port {
                None
            } else {
                Some(PortChange { offset: offset + port_offset, old: old_port, new: port })
            },
        }
    }
}
