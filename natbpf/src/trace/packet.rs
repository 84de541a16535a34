//! What the first bytes of a packet say, for whoever reads lines.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use natbpf_common::wire::protocol::{DCCP, SCTP, TCP, UDP, UDPLITE, extension};
use serde::Serialize;

use crate::flows::protocol_name;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// A packet of IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    pub protocol: &'static str,
    pub protocol_number: u8,
    pub source: IpAddr,
    pub source_port: Option<u16>,
    pub destination: IpAddr,
    pub destination_port: Option<u16>,
    /// Flags of TCP, as tcpdump shows them.
    pub flags: Option<String>,
    /// A fragment that is not the first one.
    pub later_fragment: bool,
}

impl Packet {
    /// `None`: it is no IP, or cut short.
    pub fn read(bytes: &[u8], ethernet: bool) -> Option<Self> {
        if !ethernet {
            return match bytes.first()? >> 4 {
                4 => Self::v4(bytes),
                6 => Self::v6(bytes),
                _ => None,
            };
        }
        let mut at = 12;
        while TAGS.contains(&word(bytes, at)?) {
            at += 4;
        }
        let network = bytes.get(at + 2..)?;
        match word(bytes, at)? {
            IPV4 => Self::v4(network),
            IPV6 => Self::v6(network),
            _ => None,
        }
    }

    fn v4(bytes: &[u8]) -> Option<Self> {
        let later = word(bytes, 6)? & 0x1fff != 0;
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?).into())
        };
        let transport = bytes.get(usize::from(bytes.first()? & 15) * 4..).unwrap_or_default();
        Some(Self::new(*bytes.get(9)?, [address(12)?, address(16)?], transport, later))
    }

    fn v6(bytes: &[u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?).into())
        };
        let addresses = [address(8)?, address(24)?];
        let (mut protocol, mut at) = (*bytes.get(6)?, 40);
        while extension::is_one(protocol) {
            let (Some(next), Some(length)) = (bytes.get(at), bytes.get(at + 1)) else { break };
            let later =
                protocol == extension::FRAGMENT && word(bytes, at + 2).is_some_and(|word| word >> 3 != 0);
            at += extension::size(protocol, *length) as usize;
            protocol = *next;
            if later {
                return Some(Self::new(protocol, addresses, &[], true));
            }
        }
        Some(Self::new(protocol, addresses, bytes.get(at..).unwrap_or_default(), false))
    }

    fn new(protocol: u8, [source, destination]: [IpAddr; 2], transport: &[u8], later_fragment: bool) -> Self {
        let has_ports = matches!(protocol, TCP | UDP | SCTP | DCCP | UDPLITE) && !later_fragment;
        let port = |at| word(transport, at).filter(|_| has_ports);
        let flags = transport.get(13).filter(|_| protocol == TCP && !later_fragment);
        Self {
            protocol: protocol_name(protocol),
            protocol_number: protocol,
            source,
            source_port: port(0),
            destination,
            destination_port: port(2),
            flags: flags.map(|flags| tcp_flags(*flags)),
            later_fragment,
        }
    }
}

fn tcp_flags(flags: u8) -> String {
    let named: String = "FSRP.UEW"
        .chars()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, name)| name)
        .collect();
    if named.is_empty() { "none".to_owned() } else { named }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            "unknown" => write!(f, "protocol {} ", self.protocol_number)?,
            name => write!(f, "{name} ")?,
        }
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let (source, destination) =
            (end(self.source, self.source_port), end(self.destination, self.destination_port));
        write!(f, "{source} > {destination}")?;
        if let Some(flags) = &self.flags {
            write!(f, " [{flags}]")?;
        }
        if self.later_fragment { f.write_str(" later fragment") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn said(bytes: &[u8], ethernet: bool) -> String {
        Packet::read(bytes, ethernet).map_or_else(String::new, |packet| packet.to_string())
    }

    #[test]
    fn packets_are_told_in_a_few_words() {
        let mut bytes = Vec::new();
        let ip = PacketBuilder::ipv4([10, 0, 0, 11], [203, 0, 113, 10], 64);
        ip.tcp(5000, 80, 1, 1).syn().write(&mut bytes, &[]).unwrap();
        assert_eq!(said(&bytes, false), "tcp 10.0.0.11:5000 > 203.0.113.10:80 [S]");
        bytes[6] = 1;
        assert_eq!(said(&bytes, false), "tcp 10.0.0.11 > 203.0.113.10 later fragment");

        let mut bytes = Vec::new();
        let tagged = PacketBuilder::ethernet2([1; 6], [2; 6]).single_vlan(5.try_into().unwrap());
        let (source, destination) = ([0xfd; 16], [0xfe; 16]);
        tagged.ipv6(source, destination, 64).udp(53, 54).write(&mut bytes, b"x").unwrap();
        let ends =
            "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:53 > [fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:54";
        assert_eq!(said(&bytes, true), format!("udp {ends}"));
    }

    #[test]
    fn flags_stand_as_in_tcpdump() {
        for (flags, said) in
            [(0x02, "S"), (0x12, "S."), (0xc2, "SEW"), (0x19, "FP."), (0x24, "RU"), (0, "none")]
        {
            assert_eq!(tcp_flags(flags), said);
        }
    }

    #[test]
    fn extension_headers_are_looked_behind() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 24, 0, 64];
        bytes.extend([[0xfd; 16], [0xfe; 16]].concat());
        // Hop by hop, then a fragment at offset 0, then UDP.
        bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
        let fragment = bytes.len();
        bytes.extend([17, 0, 0, 1, 0, 0, 0, 7]);
        bytes.extend([0, 53, 0, 54, 0, 8, 0, 0]);
        assert!(said(&bytes, false).starts_with("udp [fdfd:") && said(&bytes, false).ends_with("]:54"));
        bytes[fragment + 3] = 9;
        assert!(said(&bytes, false).ends_with(" later fragment"));
        assert!(said(&bytes, false).starts_with("udp fdfd:"));
    }

    #[test]
    fn what_is_cut_short_says_less() {
        let mut bytes = Vec::new();
        let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 11], [203, 0, 113, 10], 64);
        ip.udp(5000, 80).write(&mut bytes, b"data").unwrap();
        assert_eq!(said(&bytes[..34], true), "udp 10.0.0.11 > 203.0.113.10");
        for length in 0..34 {
            assert_eq!(said(&bytes[..length], true), "");
        }
    }
}
