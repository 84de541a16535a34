//! Packets: built, summed and read by etherparse.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, LaxNetSlice,
    LaxSlicedPacket, NetSlice, SingleVlanHeader, SlicedPacket, TcpHeader, TransportSlice, UdpHeader, VlanId,
};
use natbpf_common::wire::protocol::{self, Transport, icmp};
use natbpf_common::wire::segment::TcpFlags;

/// An address and a port, an ICMP identifier, or 0 for protocols without ports.
pub type End = (Ipv4Addr, u16);

/// The tag of a customer, and that of a provider around it.
pub const CUSTOMER_TAG: (EtherType, u16) = (EtherType::VLAN_TAGGED_FRAME, 42);
pub const PROVIDER_TAG: (EtherType, u16) = (EtherType::PROVIDER_BRIDGING, 7);

/// An IPv4 packet in an Ethernet frame. Lengths and checksums are made by [`Packet::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// VLAN tags, the outer one first.
    pub tags: Vec<(EtherType, u16)>,
    pub ip: Ipv4Header,
    pub body: Body,
    pub payload: Vec<u8>,
}

/// What stands between the IPv4 header and the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Tcp(Box<TcpHeader>),
    Udp {
        source: u16,
        destination: u16,
        summed: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
        sequence: u16,
    },
    /// All is payload. DCCP and UDP-Lite have their checksum over a pseudo header there.
    Other,
}

impl Packet {
    fn new(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, body: Body) -> Self {
        let mut ip = Ipv4Header::new(0, 63, IpNumber(protocol), source.octets(), destination.octets())
            .expect("an empty packet is not too long");
        ip.identification = 0x1234;
        ip.dont_fragment = false;
        Self { tags: Vec::new(), ip, body, payload: b"what an instance has to say".to_vec() }
    }

    pub fn udp(source: End, destination: End) -> Self {
        let body = Body::Udp { source: source.1, destination: destination.1, summed: true };
        Self::new(protocol::UDP, source.0, destination.0, body)
    }

    /// `flags` as in [`natbpf_common::wire::segment`].
    pub fn tcp(source: End, destination: End, flags: TcpFlags) -> Self {
        let mut header = TcpHeader::new(source.1, destination.1, 0x0102_0304, 0x1000);
        // It acknowledges the SYN/ACK that such an end would send.
        header.acknowledgment_number = 0x0102_0305;
        let body = Body::Tcp(Box::new(header));
        Self::new(protocol::TCP, source.0, destination.0, body).flags(flags)
    }

    /// An echo request.
    pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, id: u16) -> Self {
        Self::icmp(source, destination, icmp::ECHO_REQUEST, id)
    }

    pub fn icmp(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, id: u16) -> Self {
        Self::new(protocol::ICMP, source, destination, Body::Icmp { kind, code: 0, id, sequence: 1 })
    }

    /// An ICMP error about `quoted`, an IPv4 packet or as much of one as the quotation has. `rest` is the last four
    /// bytes of the header, such as the MTU of the next hop.
    pub fn icmp_error(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        kind: u8,
        code: u8,
        rest: u32,
        quoted: &[u8],
    ) -> Self {
        let (id, sequence) = ((rest >> 16) as u16, rest as u16);
        Self::new(protocol::ICMP, source, destination, Body::Icmp { kind, code, id, sequence })
            .payload(quoted)
    }

    /// A packet of another protocol.
    pub fn other(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self::new(protocol, source, destination, Body::Other)
    }

    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    pub fn tags(mut self, tags: &[(EtherType, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// So many 32-bit words of IPv4 options, 10 at most.
    pub fn options(mut self, words: usize) -> Self {
        const NO_OPERATION: u8 = 1;
        self.ip.options = vec![NO_OPERATION; words * 4].as_slice().try_into().expect("10 words at most");
        self
    }

    /// A fragment of a longer packet; `offset` in units of 8 bytes.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.ip.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits at most");
        self.ip.more_fragments = more;
        self
    }

    pub fn without_sum(mut self) -> Self {
        if let Body::Udp { summed, .. } = &mut self.body {
            *summed = false;
        }
        self
    }

    pub fn flags(mut self, flags: TcpFlags) -> Self {
        if let Body::Tcp(header) = &mut self.body {
            let has = |flag| flags.intersects(flag);
            [
                header.fin, header.syn, header.rst, header.psh, header.ack, header.urg, header.ece,
                header.cwr,
            ] = [0, 1, 2, 3, 4, 5, 6, 7].map(|bit| has(TcpFlags::from_bits_retain(1 << bit)));
        }
        self
    }

    /// TCP's sequence and acknowledgement numbers.
    pub fn numbers(mut self, sequence: u32, acknowledgment: u32) -> Self {
        if let Body::Tcp(header) = &mut self.body {
            (header.sequence_number, header.acknowledgment_number) = (sequence, acknowledgment);
        }
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.time_to_live = ttl;
        self
    }

    /// The "don't fragment" flag.
    pub fn df(mut self) -> Self {
        self.ip.dont_fragment = true;
        self
    }

    /// The identification of the IPv4 header.
    pub fn id(mut self, id: u16) -> Self {
        self.ip.identification = id;
        self
    }

    pub fn source(&self) -> End {
        let port = match &self.body {
            Body::Tcp(header) => header.source_port,
            Body::Udp { source, .. } => *source,
            Body::Icmp { id, .. } => *id,
            Body::Other => 0,
        };
        (self.ip.source.into(), port)
    }

    pub fn destination(&self) -> End {
        let port = match &self.body {
            Body::Tcp(header) => header.destination_port,
            Body::Udp { destination, .. } => *destination,
            Body::Icmp { id, .. } => *id,
            Body::Other => 0,
        };
        (self.ip.destination.into(), port)
    }

    /// The same from another source. An ICMP query has one identifier for both ends.
    pub fn with_source(mut self, end: End) -> Self {
        self.ip.source = end.0.octets();
        match &mut self.body {
            Body::Tcp(header) => header.source_port = end.1,
            Body::Udp { source, .. } => *source = end.1,
            Body::Icmp { id, .. } => *id = end.1,
            Body::Other => {}
        }
        self
    }

    /// The same to another destination.
    pub fn with_destination(mut self, end: End) -> Self {
        self.ip.destination = end.0.octets();
        match &mut self.body {
            Body::Tcp(header) => header.destination_port = end.1,
            Body::Udp { destination, .. } => *destination = end.1,
            Body::Icmp { id, .. } => *id = end.1,
            Body::Other => {}
        }
        self
    }

    /// What the other end says back, to `external` as it saw the source.
    pub fn answer(&self, external: End) -> Self {
        let mut answer = self.clone().with_source(self.destination()).with_destination(external);
        if let Body::Icmp { kind, .. } = &mut answer.body {
            *kind = if *kind == icmp::ECHO_REQUEST { icmp::ECHO_REPLY } else { *kind + 1 };
        }
        answer.payload = b"the answer".to_vec();
        answer
    }

    /// From the IPv4 header on, every checksum computed anew.
    pub fn ip_bytes(&self) -> Vec<u8> {
        let frame = self.bytes();
        frame[14 + 4 * self.tags.len()..].to_vec()
    }

    /// The frame, every checksum computed anew.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.body_bytes();
        let mut ip = self.ip.clone();
        ip.set_payload_len(body.len()).expect("the payload fits into a packet");
        ip.header_checksum = ip.calc_header_checksum();
        let types = self.tags.iter().map(|(tag, _)| *tag).chain([EtherType::IPV4]).collect::<Vec<_>>();
        let (source, destination) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut frame = Ethernet2Header { source, destination, ether_type: types[0] }.to_bytes().to_vec();
        for ((_, id), ether_type) in self.tags.iter().zip(&types[1..]) {
            let vlan_id = VlanId::try_new(*id).expect("12 bits at most");
            let tag = SingleVlanHeader { vlan_id, ether_type: *ether_type, ..SingleVlanHeader::default() };
            frame.extend(tag.to_bytes());
        }
        frame.extend(ip.to_bytes());
        frame.extend(body);
        frame
    }

    fn body_bytes(&self) -> Vec<u8> {
        let header = match &self.body {
            Body::Tcp(header) => {
                let mut header = header.clone();
                let sum = header.calc_checksum_ipv4(&self.ip, &self.payload);
                header.checksum = sum.expect("the payload fits into a segment");
                header.to_bytes().to_vec()
            }
            Body::Udp { source, destination, summed } => {
                let header = if *summed {
                    UdpHeader::with_ipv4_checksum(*source, *destination, &self.ip, &self.payload)
                } else {
                    UdpHeader::without_ipv4_checksum(*source, *destination, self.payload.len())
                };
                header.expect("the payload fits into a datagram").to_bytes().to_vec()
            }
            Body::Icmp { kind, code, id, sequence } => {
                let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
                let kind = Icmpv4Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: [a, b, c, d] };
                Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
            }
            Body::Other => return self.other_bytes(),
        };
        [header, self.payload.clone()].concat()
    }

    fn other_bytes(&self) -> Vec<u8> {
        let mut bytes = self.payload.clone();
        if let Some(at) = self.pseudo_header_sum() {
            let sum = pseudo_header_sum(&self.ip, &bytes, at).to_ne_bytes();
            bytes[at..at + 2].copy_from_slice(&sum);
        }
        bytes
    }

    /// Where the sum over a pseudo header is. A fragment has that of the whole, or none.
    fn pseudo_header_sum(&self) -> Option<usize> {
        if self.ip.is_fragmenting_payload() {
            return None;
        }
        match Transport::of(self.ip.protocol.0) {
            Transport::Other { checksum: Some(at) } if self.payload.len() >= usize::from(at) + 2 => {
                Some(at.into())
            }
            _ => None,
        }
    }
}

/// Over the whole packet, as if the two bytes at `at` were zero.
fn pseudo_header_sum(ip: &Ipv4Header, bytes: &[u8], at: usize) -> u16 {
    let length = u16::try_from(bytes.len()).expect("a packet has 16 bits of length");
    Sum16BitWords::new()
        .add_4bytes(ip.source)
        .add_4bytes(ip.destination)
        .add_2bytes([0, ip.protocol.0])
        .add_2bytes(length.to_be_bytes())
        .add_slice(&bytes[..at])
        .add_slice(&bytes[at + 2..])
        .to_ones_complement_with_no_zero()
}

/// Source and destination of a frame; `None` if etherparse finds no IPv4 packet in it.
pub fn ends(frame: &[u8]) -> Option<(End, End)> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { return None };
    let (source, destination) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Icmpv4(icmp)) => {
            let id = u16::from_be_bytes([icmp.bytes5to8()[0], icmp.bytes5to8()[1]]);
            (id, id)
        }
        _ => (0, 0),
    };
    Some(((ip.header().source_addr(), source), (ip.header().destination_addr(), destination)))
}

/// Whether every checksum of a frame is right, as etherparse computes them; `None` if it finds no whole IPv4 packet.
pub fn sums_are_right(frame: &[u8]) -> Option<bool> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(slice)) = &packet.net else { return None };
    let ip = slice.header().to_header();
    let (source, destination) = (ip.source, ip.destination);
    let transport = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.calc_checksum_ipv4(source, destination).ok()? == tcp.checksum(),
        Some(TransportSlice::Udp(udp)) => {
            let sum = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload()).ok()?;
            udp.checksum() == 0 || sum == udp.checksum()
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            Sum16BitWords::new().add_slice(icmp.slice()).ones_complement() == 0
        }
        _ => true,
    };
    Some(transport && ip.calc_header_checksum() == ip.header_checksum)
}
