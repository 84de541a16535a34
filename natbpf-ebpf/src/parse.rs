//! From bytes to headers. Everything that a NAT must not believe is checked here.

use aya_ebpf::bindings::__sk_buff;
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

use crate::{
    packet::{End, Packet, Translation, view},
    skb::Skb,
};

const ICMP_HEADER: usize = 8;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff_u16.to_be();

/// The headers of an IPv4 packet. Plain numbers alone, since it is filled by [`parse_headers`].
#[repr(C)]
pub struct Headers {
    /// Offset of the IPv4 header in the packet.
    network: u32,
    /// Offset of what follows it.
    transport: u32,
    /// Bytes from there on, by the header's word.
    payload: u32,
    pub source: Address,
    pub destination: Address,
    /// For ICMP queries see [`FlowKey`]; zero without ports.
    source_port: Port,
    destination_port: Port,
    /// Checksum of the IPv4 header.
    checksum: u16,
    pub protocol: u8,
    pub tcp_flags: u8,
    /// A [`Kind`].
    kind: u32,
}

/// What can be done with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// It may begin a flow.
    Forward = 0,
    /// An ICMP reply.
    IcmpReply = 1,
    /// An ICMP message that is neither query nor reply.
    IcmpOther = 2,
    /// A fragment: the first, the last or between.
    Fragment = 3,
    /// Its lengths contradict each other; nothing behind the addresses can be believed.
    Malformed = 4,
}

const IPV4: u32 = 0;
const NOT_IPV4: u32 = 1;
const CUT_SHORT: u32 = 2;

/// Reads the headers. `None`: it is not IPv4. An error: it is cut short before the end of the addresses.
#[inline(always)]
pub fn headers(skb: &mut Skb<'_>, link_header: u32) -> Result<Option<Headers>, Counter> {
    // SAFETY: plain numbers.
    let mut headers: Headers = unsafe { core::mem::zeroed() };
    match parse_headers(skb.raw(), link_header, &raw mut headers) {
        IPV4 => Ok(Some(headers)),
        NOT_IPV4 => Ok(None),
        _ => Err(Counter::Malformed),
    }
}

/// A global function to the kernel, which verifies it by itself: otherwise the verifier of Linux 6.1 would follow the rest of the program once for
/// every way through here. Returns one of the constants above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_headers(skb: *mut __sk_buff, link_header: u32, headers: *mut Headers) -> u32 {
    if headers.is_null() {
        return NOT_IPV4;
    }
    // SAFETY: the caller's, checked by the verifier.
    let headers = unsafe { &mut *headers };
    let mut skb = Skb::of(skb);
    let Some(offset) = network_offset(&mut skb, link_header) else { return NOT_IPV4 };
    if headers.read_network(&mut skb, offset).is_none() {
        return CUT_SHORT;
    }
    if headers.kind == Kind::Forward as u32 && headers.read_transport(&mut skb).is_none() {
        headers.kind = Kind::Malformed as u32;
    }
    IPV4
}

impl Headers {
    /// `None`: cut short.
    #[inline(always)]
    fn read_network<P: Packet>(&mut self, packet: &mut P, offset: u32) -> Option<()> {
        let header = view::<P, { Ipv4Hdr::LEN }>(packet, offset)?;
        let version_and_length = header.u8::<0>();
        let header_length = ((version_and_length & 0x0f) as u32) << 2;
        let mut total = u16::from_be(header.u16::<2>()) as u32;
        let fragment = header.u16::<6>() & MORE_FRAGMENTS_OR_OFFSET != 0;
        self.network = offset;
        self.transport = offset + header_length;
        self.source = Address::from_wire(header.u32::<12>());
        self.destination = Address::from_wire(header.u32::<16>());
        self.protocol = header.u8::<9>();
        self.checksum = header.u16::<10>();
        let present = packet.length() - offset;
        if total == 0 && packet.is_gso() {
            // Over 64 KiB ("BIG TCP") the field says nothing.
            total = present;
        }
        self.payload = total.wrapping_sub(header_length);
        let malformed = version_and_length >> 4 != 4
            || header_length < Ipv4Hdr::LEN as u32
            || total < header_length
            || total > present;
        self.kind = match (malformed, fragment) {
            (true, _) => Kind::Malformed,
            (_, true) => Kind::Fragment,
            _ => Kind::Forward,
        } as u32;
        Some(())
    }

    /// `None`: cut short, or lengths that contradict each other.
    #[inline(always)]
    fn read_transport<P: Packet>(&mut self, packet: &mut P) -> Option<()> {
        let offset = self.transport;
        match self.protocol {
            protocol::TCP => {
                let header = view::<P, { TcpHdr::LEN }>(packet, offset)?;
                let length = (header.u8::<12>() as u32 & 0xf0) >> 2;
                if self.payload < length || length < TcpHdr::LEN as u32 {
                    return None;
                }
                self.source_port = Port::from_wire(header.u16::<0>());
                self.destination_port = Port::from_wire(header.u16::<2>());
                self.tcp_flags = header.u8::<13>();
            }
            protocol::UDP => {
                let header = view::<P, { UdpHdr::LEN }>(packet, offset)?;
                let length = u16::from_be(header.u16::<4>()) as u32;
                if self.payload < length || length < UdpHdr::LEN as u32 {
                    return None;
                }
                self.source_port = Port::from_wire(header.u16::<0>());
                self.destination_port = Port::from_wire(header.u16::<2>());
            }
            protocol::ICMP => {
                let header = view::<P, ICMP_HEADER>(packet, offset)?;
                if self.payload < ICMP_HEADER as u32 {
                    return None;
                }
                let identifier = Port::from_wire(header.u16::<4>());
                match icmp::classify(header.u8::<0>()) {
                    icmp::Message::Request(request) => {
                        self.source_port = identifier;
                        self.destination_port = Port::new(request as u16);
                    }
                    icmp::Message::Reply(request) => {
                        self.source_port = Port::new(request as u16);
                        self.destination_port = identifier;
                        self.kind = Kind::IcmpReply as u32;
                    }
                    icmp::Message::Other => self.kind = Kind::IcmpOther as u32,
                }
            }
            _ => {}
        }
        Some(())
    }

    #[inline(always)]
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }

    /// The key by which the flow table knows the packet.
    #[inline(always)]
    pub fn key(&self, direction: Direction) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            protocol: self.protocol,
            direction: direction as u8,
            zone: 0,
        }
    }

    /// The translation that gives one end of the packet this address and port.
    #[inline(always)]
    pub fn translation(&self, end: End, address: Address, port: Port) -> Translation {
        let (old, other, old_port, side, direction) = match end {
            End::Source => (self.source, self.destination, self.source_port, 0, 0),
            End::Destination => {
                (self.destination, self.source, self.destination_port, 2, Translation::DESTINATION)
            }
        };
        let (checksum, port_offset, covers) = match Transport::of(self.protocol) {
            Transport::Tcp => (16, side, Translation::PSEUDO_HEADER),
            Transport::Udp => (6, side, Translation::PSEUDO_HEADER | Translation::ZERO_IS_NONE),
            Transport::Icmp => (2, 4, 0),
            // A header too short for its checksum is left to the receiver.
            Transport::Other { checksum: Some(at) } if self.payload >= at as u32 + 2 => {
                (at as u32, 0, Translation::PSEUDO_HEADER)
            }
            Transport::Other { .. } => (0, 0, 0),
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
            flags: direction | covers,
        }
    }
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
