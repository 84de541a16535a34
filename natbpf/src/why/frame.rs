//! Frames as an instance would send them.

use std::net::Ipv4Addr;

use natbpf_common::{
    Port,
    contract::follow::Ends,
    wire::{
        checksum,
        protocol::{ICMP, TCP, UDP},
    },
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const BROADCAST: [u8; 6] = [0xff; 6];
/// As ping(8) sends.
const PAYLOAD: usize = 56;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Ping,
    Tcp(u16),
    Udp(u16),
}

/// Who sends, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    /// Of whom passes it on.
    pub gateway: [u8; 6],
    /// Source port, or identifier of an echo: unique, so that the answer is told apart.
    pub port: u16,
}

impl Probe {
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Ping => ICMP,
            Self::Tcp(_) => TCP,
            Self::Udp(_) => UDP,
        }
    }

    /// The port that it goes to; none has 0.
    pub const fn port(self) -> u16 {
        match self {
            Self::Ping => 0,
            Self::Tcp(port) | Self::Udp(port) => port,
        }
    }

    /// How it is said.
    pub fn name(self) -> String {
        match self {
            Self::Ping => "ping".to_owned(),
            Self::Tcp(port) => format!("TCP port {port}"),
            Self::Udp(port) => format!("UDP port {port}"),
        }
    }

    /// Its ends as it leaves the instance.
    pub fn ends(self, sender: &Sender, destination: Ipv4Addr) -> Ends {
        let to = if self == Self::Ping { sender.port } else { self.port() };
        Ends {
            source: sender.address.into(),
            destination: destination.into(),
            source_port: Port::new(sender.port),
            destination_port: Port::new(to),
            protocol: self.protocol().into(),
        }
    }

    /// The frame. `length`: of the whole packet, for a ping that is to fill the MTU.
    pub fn frame(self, sender: &Sender, destination: Ipv4Addr, length: Option<u32>) -> Vec<u8> {
        let payload = match self {
            Self::Ping => {
                let data = length.map_or(PAYLOAD, |length| (length as usize).saturating_sub(IPV4 + 8));
                let mut echo = vec![8, 0, 0, 0];
                echo.extend([sender.port.to_be_bytes(), 1_u16.to_be_bytes()].concat());
                echo.extend((0..data).map(|place| place as u8));
                let sum = !checksum::fold(sum(&echo));
                echo[2..4].copy_from_slice(&sum.to_ne_bytes());
                echo
            }
            Self::Udp(port) => {
                let mut packet = [sender.port, port, 8 + 4, 0].map(u16::to_be_bytes).concat();
                packet.extend([0; 4]);
                self.checked(sender.address, destination, packet, 6)
            }
            Self::Tcp(port) => {
                let mut packet = [sender.port, port].map(u16::to_be_bytes).concat();
                // Numbers, SYN in a header of 24 bytes, a window; MSS 1460.
                packet.extend([0x4e, 0x41, 0x54, 0x42, 0, 0, 0, 0, 0x60, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
                packet.extend([2, 4, 0x05, 0xb4]);
                self.checked(sender.address, destination, packet, 16)
            }
        };
        let length = (IPV4 + payload.len()) as u16;
        // Without fragments, so that it is told what is too long.
        let mut ip = [0x4500, length, 0, 0x4000].map(u16::to_be_bytes).concat();
        ip.extend([64, self.protocol(), 0, 0]);
        ip.extend([sender.address.octets(), destination.octets()].concat());
        let sum = !checksum::fold(sum(&ip));
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        let mut frame = ethernet(sender.gateway, sender.mac, 0x0800);
        frame.extend(ip);
        frame.extend(payload);
        frame
    }

    /// With the checksum of TCP or UDP at an offset.
    fn checked(self, source: Ipv4Addr, destination: Ipv4Addr, mut packet: Vec<u8>, at: usize) -> Vec<u8> {
        let mut pseudo = [source.octets(), destination.octets()].concat();
        pseudo.extend([0, self.protocol()]);
        pseudo.extend((packet.len() as u16).to_be_bytes());
        let sum = !checksum::fold(sum(&pseudo) + sum(&packet));
        // 0 would say that there is none.
        packet[at..at + 2].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_ne_bytes());
        packet
    }
}

/// Asks for the hardware address of `target`.
pub fn arp_request(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, 0x0806);
    // Ethernet, IPv4, the lengths of their addresses, a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    // The shortest frame.
    frame.resize(60, 0);
    frame
}

fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ether_type.to_be_bytes());
    frame
}

/// Of 16-bit words in the order of the packet; an odd last byte has a zero behind it.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]);
    bytes.chunks(2).map(|pair| u32::from(word(pair))).sum()
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;

    const SENDER: Sender =
        Sender { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(10, 0, 0, 11), gateway: [2; 6], port: 4711 };
    const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    #[test]
    fn checksums_are_right() {
        for probe in [Probe::Ping, Probe::Tcp(80), Probe::Udp(53)] {
            let frame = probe.frame(&SENDER, SERVER, None);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let etherparse::NetSlice::Ipv4(ip) = packet.net.unwrap() else { panic!("no IPv4") };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (source, destination) = (header.source, header.destination);
            match packet.transport.unwrap() {
                etherparse::TransportSlice::Icmpv4(icmp) => {
                    let is = icmp.icmp_type().calc_checksum(icmp.payload());
                    assert_eq!(icmp.checksum(), is);
                }
                etherparse::TransportSlice::Tcp(tcp) => {
                    let is = tcp.calc_checksum_ipv4(source, destination).unwrap();
                    assert!(tcp.checksum() == is && tcp.syn() && tcp.destination_port() == 80);
                }
                etherparse::TransportSlice::Udp(udp) => {
                    let is = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload());
                    assert_eq!(udp.checksum(), is.unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_ping_fills_the_mtu() {
        assert_eq!(Probe::Ping.frame(&SENDER, SERVER, Some(1500)).len(), ETHERNET + 1500);
        assert_eq!(Probe::Ping.frame(&SENDER, SERVER, None).len(), ETHERNET + IPV4 + 8 + PAYLOAD);
    }
}
