//! From bytes to headers. Everything that a NAT must not believe is checked here.
//!
//! Generic over [`Packet`], so that the same code runs in the kernel, in host tests and under a fuzzer.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv4Hdr,
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use super::{
    Address, Port, checksum,
    packet::{End, Packet, Translation, view},
    protocol::{self, Transport, icmp},
    segment,
};

const ICMP_HEADER: usize = 8;

/// Shorter frames are filled up to this (`ETH_ZLEN`).
const SHORTEST_FRAME: u32 = 60;

/// The headers of an IPv4 packet. Plain numbers alone, since a global function of the datapath fills it; words without a rest.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct Headers {
    /// Offset of the IPv4 header in the packet.
    pub network: u32,
    /// Offset of what follows it.
    pub transport: u32,
    /// Bytes from there on, by the header's word.
    pub payload: u32,
    pub source: Address,
    pub destination: Address,
    /// For ICMP queries see [`FlowKey`](crate::flow::FlowKey); zero without ports.
    pub source_port: Port,
    pub destination_port: Port,
    /// Checksum of the IPv4 header, as it stands there.
    pub checksum: u16,
    pub protocol: u8,
    pub tcp_flags: u8,
    /// A [`Kind`].
    pub kind: u32,
    /// Identification of the IPv4 header, as it stands there.
    pub identification: u16,
    /// The flag "more fragments" and the fragment's offset in units of 8 bytes, host order.
    pub fragment: u16,
    /// ICMP messages' type.
    pub icmp_type: u8,
    pub time_to_live: u8,
    /// Length of a TCP segment's header.
    pub tcp_header: u8,
    /// Type of service: DSCP and ECN.
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
    /// Its lengths contradict each other; nothing behind the addresses can be believed.
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
    NotIpv4,
    /// Cut short before the end of the addresses.
    CutShort,
}

impl Headers {
    /// Reads the headers of a packet that begins with a link layer header of this length.
    #[inline(always)]
    pub fn read<P: Packet>(&mut self, packet: &mut P, link_header: u32) -> Found {
        let Some(offset) = network_offset(packet, link_header) else { return Found::NotIpv4 };
        if self.read_network(packet, offset).is_none() {
            return Found::CutShort;
        }
        // Row S35.
        if self.is(Kind::Forward) && self.read_transport(packet).is_none() {
            self.kind = Kind::Malformed as u32;
        }
        Found::Ipv4
    }

    /// The headers of a frame that has nothing special: no tag in it, IPv4 without options, no fragment, nothing behind the packet but
    /// Ethernet's padding. `None`: it is another, or something is wrong with it; [`Headers::read`] tells what.
    ///
    /// The same as that, with every offset known beforehand: a few loads for those packets that are most of all. What the kernel refuses
    /// or cuts off on its way (`ip_rcv`: a wrong checksum, bytes behind the end) is looked at here, since these packets may not go that way.
    #[inline(always)]
    pub fn plain<P: Packet>(packet: &mut P) -> Option<Self> {
        const NETWORK: u32 = EthHdr::LEN as u32;
        const LENGTH: u32 = Ipv4Hdr::LEN as u32;
        const VERSION_AND_LENGTH: u8 = 4 << 4 | (LENGTH / 4) as u8;
        let frame = view::<P, { EthHdr::LEN + Ipv4Hdr::LEN }>(packet, 0)?;
        let fragment = frame.u16::<20>() & (MORE_FRAGMENTS | FRAGMENT_OFFSET).to_be();
        // What has options takes the way of the kernel, which refuses wrong ones. Row S32.
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
            tcp_flags: 0,
            fragment: 0,
            icmp_type: 0,
            tcp_header: 0,
            service: frame.u8::<15>(),
        };
        headers.read_transport(packet)?;
        Some(headers)
    }

    /// `None`: cut short.
    #[inline(always)]
    fn read_network<P: Packet>(&mut self, packet: &mut P, offset: u32) -> Option<()> {
        let header = view::<P, { Ipv4Hdr::LEN }>(packet, offset)?;
        let version_and_length = header.u8::<0>();
        let header_length = ((version_and_length & 0x0f) as u32) << 2;
        let mut total = u16::from_be(header.u16::<2>()) as u32;
        self.fragment = u16::from_be(header.u16::<6>()) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
        self.identification = header.u16::<4>();
        self.network = offset;
        self.transport = offset + header_length;
        self.source = Address::from_wire(header.u32::<12>());
        self.destination = Address::from_wire(header.u32::<16>());
        self.time_to_live = header.u8::<8>();
        self.service = header.u8::<1>();
        self.protocol = header.u8::<9>();
        self.checksum = header.u16::<10>();
        let present = packet.length() - offset;
        if total == 0 && packet.is_gso() {
            // Over 64 KiB ("BIG TCP") the field says nothing. Row X02.
            total = present;
        }
        // What a frame is filled up with is no payload. Row F20.
        self.payload = total.wrapping_sub(header_length);
        // The kernel lets none of these through. Rows F04, S30, S31.
        let malformed = version_and_length >> 4 != 4
            || header_length < Ipv4Hdr::LEN as u32
            || total < header_length
            || total > present;
        self.kind = match (malformed, self.fragment & FRAGMENT_OFFSET) {
            (true, _) => Kind::Malformed,
            (_, 0) => Kind::Forward,
            _ => Kind::Fragment,
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
                self.tcp_header = length as u8;
                self.tcp_flags = header.u8::<13>();
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
            protocol::ICMP => {
                let header = view::<P, ICMP_HEADER>(packet, offset)?;
                if self.payload < ICMP_HEADER as u32 {
                    return None;
                }
                let identifier = Port::from_wire(header.u16::<4>());
                self.icmp_type = header.u8::<0>();
                match icmp::classify(self.icmp_type) {
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

    #[inline(always)]
    pub const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }

    /// One of several fragments of a datagram.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment != 0
    }

    /// The IPv4 header's checksum after a change of an address, with one less of time to live. Row F01.
    #[inline(always)]
    pub const fn repeated_checksum(&self, change: &Translation) -> u16 {
        // Time to live and protocol are one word of the sum.
        let old = u16::from_ne_bytes([self.time_to_live, self.protocol]);
        let new = u16::from_ne_bytes([self.time_to_live - 1, self.protocol]);
        checksum::replace_half(checksum::replace_address(self.checksum, change.old, change.new), old, new)
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
/// need nothing. Rows F23, X03.
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
    let mut difference = (ether_type ^ EtherType::Ieee8021q as u16) as u64
        * (ether_type ^ EtherType::Ieee8021ad as u16) as u64;
    // SAFETY: no instruction. It keeps LLVM from seeing the comparison, which it would make a branch of.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) difference, options(pure, nomem, nostack, preserves_flags));
    };
    1 - ((difference | difference.wrapping_neg()) >> 63) as u32
}
