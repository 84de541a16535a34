//! Frames as an instance would send them.

use std::net::IpAddr;

use natbpf_common::{
    Port,
    contract::follow::Ends,
    wire::protocol::{ICMP, ICMP6, TCP, UDP, icmp, icmp6},
};

use super::headers::{checked, frame, length};

/// As ping(8) sends.
const PAYLOAD: usize = 56;
/// Of a header of ICMP.
const ECHO: usize = 8;
const HOPS: u8 = 64;

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
    pub address: IpAddr,
    /// Of whom passes it on.
    pub gateway: [u8; 6],
    /// Source port, or identifier of an echo: unique, so that the answer is told apart.
    pub port: u16,
}

impl Probe {
    pub const fn protocol(self, destination: IpAddr) -> u8 {
        match self {
            Self::Ping if destination.is_ipv6() => ICMP6,
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
    pub fn ends(self, sender: &Sender, destination: IpAddr) -> Ends {
        let to = if self == Self::Ping { sender.port } else { self.port() };
        Ends {
            source: sender.address.into(),
            destination: destination.into(),
            source_port: Port::new(sender.port),
            destination_port: Port::new(to),
            protocol: self.protocol(destination).into(),
        }
    }

    /// The frame. `whole`: the length of the packet, for a ping that is to fill the MTU.
    pub fn frame(self, sender: &Sender, destination: IpAddr, whole: Option<u32>) -> Vec<u8> {
        let (between, protocol) = ((sender.address, destination), self.protocol(destination));
        let is_v6 = destination.is_ipv6();
        let payload = match self {
            Self::Ping => {
                let filled = |whole: u32| (whole as usize).saturating_sub(length(destination) + ECHO);
                let mut echo = vec![if is_v6 { icmp6::ECHO_REQUEST } else { icmp::ECHO_REQUEST }, 0, 0, 0];
                echo.extend([sender.port, 1].map(u16::to_be_bytes).concat());
                echo.extend((0..whole.map_or(PAYLOAD, filled)).map(|place| place as u8));
                checked(between, protocol, echo, 2)
            }
            Self::Udp(port) => {
                let mut packet = [sender.port, port, 8 + 4, 0].map(u16::to_be_bytes).concat();
                packet.extend([0; 4]);
                checked(between, protocol, packet, 6)
            }
            Self::Tcp(port) => {
                let mut packet = [sender.port, port].map(u16::to_be_bytes).concat();
                // Numbers, SYN in a header of 24 bytes, a window; the MSS.
                packet.extend([0x4e, 0x41, 0x54, 0x42, 0, 0, 0, 0, 0x60, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
                let mss = 1480 - length(destination) as u16;
                packet.extend([0x0204, mss].map(u16::to_be_bytes).concat());
                checked(between, protocol, packet, 16)
            }
        };
        frame((sender.gateway, sender.mac), between, (protocol, HOPS), &payload)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const ETHERNET: usize = 14;

    /// Somebody of a family, and a server.
    fn ends(is_v6: bool) -> (Sender, IpAddr) {
        let texts = if is_v6 { ["fd00::b", "2001:db8::a"] } else { ["10.0.0.11", "203.0.113.10"] };
        let [address, server] = texts.map(|text| text.parse().unwrap());
        (Sender { mac: [2, 0, 0, 0, 0, 1], address, gateway: [2; 6], port: 4711 }, server)
    }

    #[test]
    fn checksums_are_right() {
        for probe in [Probe::Ping, Probe::Tcp(80), Probe::Udp(53)] {
            let (sender, server) = ends(false);
            let frame = probe.frame(&sender, server, None);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (source, destination) = (header.source, header.destination);
            match packet.transport.unwrap() {
                TransportSlice::Icmpv4(icmp) => {
                    let is = icmp.icmp_type().calc_checksum(icmp.payload());
                    assert_eq!(icmp.checksum(), is);
                }
                TransportSlice::Tcp(tcp) => {
                    let is = tcp.calc_checksum_ipv4(source, destination).unwrap();
                    assert!(tcp.checksum() == is && tcp.syn() && tcp.destination_port() == 80);
                }
                TransportSlice::Udp(udp) => {
                    let is = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload());
                    assert_eq!(udp.checksum(), is.unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn checksums_of_ipv6_are_right() {
        for probe in [Probe::Ping, Probe::Tcp(80), Probe::Udp(53)] {
            let (sender, server) = ends(true);
            let frame = probe.frame(&sender, server, None);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
            let header = ip.header().to_header();
            assert_eq!(usize::from(header.payload_length) + ETHERNET + 40, frame.len());
            match packet.transport.unwrap() {
                TransportSlice::Icmpv6(icmp) => {
                    assert!(icmp.is_checksum_valid(header.source, header.destination));
                }
                TransportSlice::Tcp(tcp) => {
                    let is = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload()).unwrap();
                    assert!(tcp.checksum() == is && tcp.syn() && tcp.destination_port() == 80);
                }
                TransportSlice::Udp(udp) => {
                    let is = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
                    assert_eq!(udp.checksum(), is.unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_ping_fills_the_mtu() {
        for (is_v6, header) in [(false, 20), (true, 40)] {
            let (sender, server) = ends(is_v6);
            let length = |whole| Probe::Ping.frame(&sender, server, whole).len();
            assert_eq!(length(Some(1500)), ETHERNET + 1500);
            assert_eq!(length(None), ETHERNET + header + 8 + PAYLOAD);
        }
    }
}
