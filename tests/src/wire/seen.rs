//! IPv4 packets as they were seen: fields by name, however odd the packet is.

use std::fmt;
use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use natbpf_common::wire::protocol;
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN, TcpFlags, URG};

use crate::object::End;

/// An IPv4 packet. What is not in it reads as 0 or as empty: an error quotes 8 bytes of TCP, a fuzzer sends less.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    bytes: Vec<u8>,
    /// Left the device, seen there; otherwise it arrived.
    pub outgoing: bool,
}

impl Seen {
    /// `None` if this is no IPv4 in Ethernet. Padding behind the packet is cut off.
    pub fn of_frame(frame: &[u8], outgoing: bool) -> Option<Self> {
        let is_ipv4 = frame.get(12..14)? == [8, 0];
        is_ipv4.then(|| Self::of_packet(&frame[14..], outgoing)).flatten()
    }

    /// `None` if there is no IPv4 header.
    pub fn of_packet(packet: &[u8], outgoing: bool) -> Option<Self> {
        let header = packet.first().map(|first| usize::from(first & 0xf) * 4)?;
        if packet[0] >> 4 != 4 || header < 20 || packet.len() < header {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        // A quotation is shorter than it says.
        let length = if total < header { packet.len() } else { total.min(packet.len()) };
        Some(Self { bytes: packet[..length].to_vec(), outgoing })
    }

    /// All bytes, from the IPv4 header on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn header(&self) -> &[u8] {
        &self.bytes[..usize::from(self.bytes[0] & 0xf) * 4]
    }

    /// All behind the IPv4 header.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.header().len()..]
    }

    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[12], self.bytes[13], self.bytes[14], self.bytes[15])
    }

    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[16], self.bytes[17], self.bytes[18], self.bytes[19])
    }

    pub fn tos(&self) -> u8 {
        self.bytes[1]
    }

    pub fn id(&self) -> u16 {
        self.word(4)
    }

    pub fn ttl(&self) -> u8 {
        self.bytes[8]
    }

    /// The "don't fragment" flag.
    pub fn df(&self) -> bool {
        self.word(6) & 0x4000 != 0
    }

    pub fn more_fragments(&self) -> bool {
        self.word(6) & 0x2000 != 0
    }

    /// In bytes.
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.word(6) & 0x1fff) * 8
    }

    /// Source address and port; for an ICMP query its identifier, 0 where there is none.
    pub fn source(&self) -> End {
        (self.src(), self.ports().0)
    }

    /// Destination address and port; for an ICMP query its identifier, 0 where there is none.
    pub fn destination(&self) -> End {
        (self.dst(), self.ports().1)
    }

    fn ports(&self) -> (u16, u16) {
        match self.protocol() {
            _ if self.fragment_offset() > 0 => (0, 0),
            protocol::TCP | protocol::UDP => (self.body_word(0), self.body_word(2)),
            protocol::ICMP if !self.is_icmp_error() => (self.body_word(4), self.body_word(4)),
            _ => (0, 0),
        }
    }

    /// The payload of UDP or TCP, what follows the 8 bytes of an ICMP header, or all of another protocol.
    pub fn payload(&self) -> &[u8] {
        let header = match self.protocol() {
            protocol::UDP | protocol::ICMP => 8,
            protocol::TCP => usize::from(self.body().get(12).map_or(5, |byte| byte >> 4)) * 4,
            _ => 0,
        };
        self.body().get(header..).unwrap_or_default()
    }

    /// The flags of TCP; none for others.
    pub fn flags(&self) -> TcpFlags {
        let flags = self.body().get(13).copied().unwrap_or_default();
        TcpFlags::from_bits_retain(if self.protocol() == protocol::TCP { flags } else { 0 })
    }

    /// TCP's sequence number.
    pub fn sequence(&self) -> u32 {
        u32::from(self.body_word(4)) << 16 | u32::from(self.body_word(6))
    }

    /// TCP's acknowledgement number.
    pub fn acknowledgment(&self) -> u32 {
        u32::from(self.body_word(8)) << 16 | u32::from(self.body_word(10))
    }

    /// Type and code.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        let kind = self.body_word(0);
        (self.protocol() == protocol::ICMP).then_some(((kind >> 8) as u8, kind as u8))
    }

    /// The last four bytes of an ICMP header: identifier and sequence number, or an error's MTU in the second.
    pub fn icmp_rest(&self) -> (u16, u16) {
        (self.body_word(4), self.body_word(6))
    }

    pub fn is_icmp_error(&self) -> bool {
        self.icmp().is_some_and(|(kind, _)| matches!(kind, 3 | 4 | 5 | 11 | 12))
    }

    /// The packet that an ICMP error quotes.
    pub fn quote(&self) -> Option<Self> {
        self.is_icmp_error().then(|| Self::of_packet(self.payload(), self.outgoing)).flatten()
    }

    /// Whether the checksum of the IPv4 header is right.
    pub fn header_sum_is_right(&self) -> bool {
        Sum16BitWords::new().add_slice(self.header()).ones_complement() == 0
    }

    /// Whether every checksum is right, as far as the packet is whole. Where the sender leaves checksums to its
    /// device (`Bed::checksums_in_software`), those of TCP and UDP are not there yet on the wire between veths.
    pub fn sums_are_right(&self) -> bool {
        let body = self.body();
        let whole = self.fragment_offset() == 0 && !self.more_fragments();
        let pseudo = || {
            let length = u16::try_from(body.len()).unwrap_or_default().to_be_bytes();
            let sum = Sum16BitWords::new().add_4bytes(self.src().octets()).add_4bytes(self.dst().octets());
            sum.add_2bytes([0, self.protocol()]).add_2bytes(length)
        };
        let transport = match self.protocol() {
            protocol::TCP if whole => pseudo().add_slice(body).ones_complement() == 0,
            protocol::UDP if whole => {
                self.body_word(6) == 0 || pseudo().add_slice(body).ones_complement() == 0
            }
            protocol::ICMP if whole => Sum16BitWords::new().add_slice(body).ones_complement() == 0,
            _ => true,
        };
        transport && self.header_sum_is_right()
    }

    /// Whether `address` stands anywhere in the headers: as an end, or as one of a quoted packet.
    pub fn names(&self, inside: impl Fn(Ipv4Addr) -> bool + Copy) -> bool {
        inside(self.src()) || inside(self.dst()) || self.quote().is_some_and(|quoted| quoted.names(inside))
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn body_word(&self, at: usize) -> u16 {
        self.body().get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = |f: &mut fmt::Formatter<'_>| {
            let (source, destination) = (self.source(), self.destination());
            write!(f, " {}:{} > {}:{}", source.0, source.1, destination.0, destination.1)
        };
        if self.fragment_offset() > 0 {
            write!(f, "fragment at {} of protocol {}", self.fragment_offset(), self.protocol())?;
            return write!(f, " {} > {}", self.src(), self.dst());
        }
        match (self.protocol(), self.icmp()) {
            (_, Some((kind, code))) => {
                write!(f, "icmp {kind}/{code}")?;
                match self.quote() {
                    Some(quoted) => write!(f, " {} > {} [{quoted}]", self.src(), self.dst()),
                    None => ends(f),
                }
            }
            (protocol::TCP, _) => {
                let names = [(SYN, 'S'), (ACK, '.'), (PSH, 'P'), (FIN, 'F'), (RST, 'R'), (URG, 'U')];
                let flags =
                    names.iter().filter(|(flag, _)| self.flags().intersects(*flag)).map(|(_, name)| name);
                f.write_str("tcp")?;
                ends(f)?;
                write!(f, " {}", flags.collect::<String>())
            }
            (protocol::UDP, _) => {
                f.write_str("udp")?;
                ends(f)
            }
            (other, _) => write!(f, "protocol {other} {} > {}", self.src(), self.dst()),
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
