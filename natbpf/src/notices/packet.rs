//! The packet that a notice is about, as far as it was handed over.

use std::net::Ipv4Addr;

/// Bytes of an IPv4 header without options (RFC 791, section 3.1).
pub const HEADER: usize = 20;

/// The fragment's offset in the sixth and seventh byte, in host order.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// An IPv4 packet that has its whole header, and perhaps not its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    header: usize,
}

impl<'a> Packet<'a> {
    /// Without what the link layer may have put behind the packet. `None`: this is no IPv4 packet.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<HEADER>()?;
        let header = usize::from(fixed[0] & 0x0f) * 4;
        let total = match u16::from_be_bytes([fixed[2], fixed[3]]) {
            // One that is to be cut into segments later, and longer than the field can say.
            0 => bytes.len(),
            total => usize::from(total),
        };
        let fits = fixed[0] >> 4 == 4 && header >= HEADER && header <= total && header <= bytes.len();
        fits.then(|| Self { bytes: &bytes[..total.min(bytes.len())], header })
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The type of service field.
    pub const fn tos(&self) -> u8 {
        self.bytes[1]
    }

    /// IP protocol number.
    pub const fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// Not the first fragment of its datagram: it has no transport header.
    pub const fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & FRAGMENT_OFFSET != 0
    }

    /// The first byte behind the header; of an ICMP message its type.
    pub fn first_of_payload(&self) -> Option<u8> {
        self.bytes.get(self.header).copied()
    }

    fn address(&self, offset: usize) -> Ipv4Addr {
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| self.bytes[offset + index]);
        Ipv4Addr::new(a, b, c, d)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp() -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 11], [203, 0, 113, 10], 63).udp(5000, 53);
        builder.write(&mut bytes, b"question").unwrap();
        bytes
    }

    #[test]
    fn the_link_layers_padding_is_no_part_of_it() {
        let mut padded = udp();
        padded.resize(46, 0xff);
        let packet = Packet::parse(&padded).unwrap();
        assert_eq!(packet.bytes(), udp());
        assert_eq!(
            (packet.source(), packet.destination()),
            ([10, 0, 0, 11].into(), [203, 0, 113, 10].into())
        );
        assert_eq!((packet.protocol(), packet.first_of_payload()), (17, Some(0x13)));
        assert!(!packet.is_later_fragment());
    }

    #[test]
    fn its_end_may_be_missing_but_not_its_header() {
        let bytes = udp();
        assert_eq!(Packet::parse(&bytes[..20]).unwrap().first_of_payload(), None);
        assert_eq!(Packet::parse(&bytes[..19]), None);
        let with = |index: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[index] = byte;
            Packet::parse(&changed).is_some()
        };
        assert!(!with(0, 0x65), "version 6");
        assert!(!with(0, 0x44), "a header of 16 bytes");
        assert!(!with(0, 0x4f), "a header longer than the packet");
        assert!(!with(3, 19), "a total length shorter than the header");
        assert!(with(3, 0), "a total length that says nothing");
    }
}
