//! The packet that an ICMP error quotes (RFC 792, RFC 1812 section 4.3.2.3): its header and the beginning of what it
//! carried, as the sender of the error saw it.

use network_types::ip::Ipv4Hdr;

use crate::wire::{
    Address, Port, checksum,
    packet::{Packet, view},
    protocol::{self, Transport, icmp},
};

/// An error's own header, before the quote.
pub const ICMP_HEADER: u32 = 8;

/// What a quote has to have of the transport header (RFC 792): ports, and the identifier of a query. Row I32.
const QUOTED: u32 = 8;

/// A quoted packet. Plain numbers alone, for global functions of the datapath.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Quote {
    /// Offset of its IPv4 header in the packet that quotes it.
    pub network: u32,
    /// Offset of its transport header.
    pub transport: u32,
    /// Address that the quoted packet comes from.
    pub source: Address,
    /// Address that it goes to.
    pub destination: Address,
    /// As in [`Headers`](crate::wire::headers::Headers): for ICMP queries see [`FlowKey`](crate::flow::FlowKey).
    pub source_port: Port,
    /// As `source_port`.
    pub destination_port: Port,
    /// Checksum of its IPv4 header, as it stands there.
    pub checksum: u16,
    /// Transport checksum, as it stands there; only where `checksum_at` is not 0.
    pub transport_checksum: u16,
    /// Offset of the transport checksum in the packet; 0 where there is none, or none was quoted.
    pub checksum_at: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl Quote {
    /// Reads a quote of `length` bytes at an offset. `None` if it is not one that can be believed: RFC 5508 REQ-3
    /// wants its header's checksum to be right and says that the transport checksum must not be looked at.
    #[inline(always)]
    pub fn read<P: Packet>(&mut self, packet: &mut P, offset: u32, length: u32) -> Option<()> {
        let header = view::<P, { Ipv4Hdr::LEN }>(packet, offset)?;
        let version_and_length = header.u8::<0>();
        let header_length = ((version_and_length & 0x0f) as u32) << 2;
        let later_fragment = u16::from_be(header.u16::<6>()) & crate::wire::headers::FRAGMENT_OFFSET != 0;
        if version_and_length >> 4 != 4
            || header_length < Ipv4Hdr::LEN as u32
            || length < header_length + QUOTED
            || later_fragment
        {
            return None;
        }
        self.network = offset;
        self.transport = offset + header_length;
        self.protocol = header.u8::<9>();
        self.checksum = header.u16::<10>();
        self.source = Address::from_wire(header.u32::<12>());
        self.destination = Address::from_wire(header.u32::<16>());
        let mut sum = add(0, header.u32::<0>());
        sum = add(sum, header.u32::<4>());
        sum = add(sum, header.u32::<8>());
        sum = add(sum, header.u32::<12>());
        sum = add(sum, header.u32::<16>());
        // The last byte, so that all of them are in the linear part; from here on nothing is pulled.
        view::<P, 1>(packet, self.transport + QUOTED - 1)?;
        // Unrolled: at most ten words of options. Row I07.
        for word in 0..10 {
            let at = Ipv4Hdr::LEN as u32 + 4 * word;
            if at < header_length {
                sum = add(sum, packet.view::<4>(offset + at)?.u32::<0>());
            }
        }
        if checksum::fold(sum) != 0xffff {
            return None;
        }
        self.read_transport(packet, length - header_length)
    }

    #[inline(always)]
    fn read_transport<P: Packet>(&mut self, packet: &mut P, length: u32) -> Option<()> {
        let header = view::<P, { QUOTED as usize }>(packet, self.transport)?;
        match Transport::of(self.protocol) {
            Transport::Tcp | Transport::Udp => {
                self.source_port = Port::from_wire(header.u16::<0>());
                self.destination_port = Port::from_wire(header.u16::<2>());
            }
            Transport::Icmp => {
                let identifier = Port::from_wire(header.u16::<4>());
                // ICMP errors are sent about queries and replies, and about no other ICMP messages.
                match icmp::classify(header.u8::<0>()) {
                    icmp::Message::Request(request) => {
                        self.source_port = identifier;
                        self.destination_port = Port::new(request as u16);
                    }
                    icmp::Message::Reply(request) => {
                        self.source_port = Port::new(request as u16);
                        self.destination_port = identifier;
                    }
                    _ => return None,
                }
            }
            Transport::Other { .. } => {}
        }
        let at = match self.protocol {
            protocol::TCP => 16,
            protocol::ICMP => 2,
            protocol::UDP | protocol::DCCP | protocol::UDPLITE => 6,
            _ => return Some(()),
        };
        if at + 2 <= length {
            self.transport_checksum = view::<P, 2>(packet, self.transport + at)?.u16::<0>();
            self.checksum_at = self.transport + at;
        }
        Some(())
    }

    /// Where the port (or the query's identifier) of one end is.
    #[inline(always)]
    pub fn port_at(&self, destination: bool) -> u32 {
        self.transport + if self.protocol == protocol::ICMP { 4 } else { 2 * destination as u32 }
    }
}

#[inline(always)]
const fn add(sum: u32, word: u32) -> u32 {
    sum + (word & 0xffff) + (word >> 16)
}

/// Checksums of a quote and of the message that has it, after one end of the quoted packet has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// That of the quoted IPv4 header.
    pub network: u16,
    /// That of the quoted transport header; as it was where the quote has none.
    pub transport: u16,
    /// That of the ICMP message.
    pub message: u16,
}

impl Quote {
    /// What the checksums become when an address and a port of the quoted packet change. `message` is that of the ICMP
    /// message as it is. Row I09.
    #[inline(always)]
    pub fn checksums(&self, message: u16, old: (Address, Port), new: (Address, Port)) -> Checksums {
        let (old_address, new_address) = (old.0.to_wire(), new.0.to_wire());
        let (old_port, new_port) = (old.1.to_wire(), new.1.to_wire());
        let network = checksum::replace_word(self.checksum, old_address, new_address);
        let mut transport = self.transport_checksum;
        let is_udp = matches!(self.protocol, protocol::UDP);
        if self.checksum_at != 0 && !(is_udp && transport == 0) {
            if self.protocol != protocol::ICMP {
                transport = checksum::replace_word(transport, old_address, new_address);
            }
            transport = checksum::replace_half(transport, old_port, new_port);
            if is_udp && transport == 0 {
                transport = 0xffff;
            }
        }
        let mut message = checksum::replace_word(message, old_address, new_address);
        message = checksum::replace_half(message, self.checksum, network);
        message = checksum::replace_half(message, old_port, new_port);
        message = checksum::replace_half(message, self.transport_checksum, transport);
        Checksums { network, transport, message }
    }

    /// The same after a port of the other end has changed as well. Only TCP and UDP have such.
    #[inline(always)]
    pub fn with_port(&self, sums: Checksums, old: Port, new: Port) -> Checksums {
        let (old, new) = (old.to_wire(), new.to_wire());
        let mut transport = sums.transport;
        let is_udp = matches!(self.protocol, protocol::UDP);
        if self.checksum_at != 0 && !(is_udp && transport == 0) {
            transport = checksum::replace_half(transport, old, new);
            if is_udp && transport == 0 {
                transport = 0xffff;
            }
        }
        let message = checksum::replace_half(sums.message, old, new);
        Checksums { transport, message: checksum::replace_half(message, sums.transport, transport), ..sums }
    }
}
