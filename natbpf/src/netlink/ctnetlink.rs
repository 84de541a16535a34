//! Entries of nf_conntrack as ctnetlink tells and takes them. All numbers are of linux/netfilter/nfnetlink_conntrack.h.

use std::net::{IpAddr, SocketAddr};

use natbpf_common::wire::protocol::{ICMP, ICMP6, TCP, UDP, icmp, icmp6};

use super::message::{attribute, build, build::nested};

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_NEW`, which changes one, too, and with `IPCTNL_MSG_CT_GET`
pub const CHANGE: u16 = 1 << 8;
pub const GET: u16 = 1 << 8 | 1;

/// Bytes of the `struct nfgenmsg` before the attributes.
pub const HEADER: usize = 4;

/// `CTA_TUPLE_ORIG`, by which an entry is asked for, too; `CTA_TUPLE_REPLY`, `CTA_STATUS`, `CTA_PROTOINFO`,
/// `CTA_TIMEOUT`
pub const ORIGINAL: u16 = 1;
pub const REPLY: u16 = 2;
pub const STATUS: u16 = 3;
pub const PROTOCOL_INFO: u16 = 4;
pub const TIMEOUT: u16 = 7;

/// `CTA_PROTOINFO_TCP`, and in it `CTA_PROTOINFO_TCP_STATE`
pub const INFO_TCP: u16 = 1;
pub const TCP_STATE: u16 = 1;

/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`, and in this `CTA_PROTO_NUM`
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;

/// `CTA_IP_V4_SRC` and `CTA_IP_V4_DST`, `CTA_IP_V6_SRC` and `CTA_IP_V6_DST`
const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];

/// `CTA_PROTO_SRC_PORT` and `CTA_PROTO_DST_PORT`
const PORTS: [u16; 2] = [2, 3];

/// `CTA_PROTO_ICMP_ID`, `_TYPE` and `_CODE`, and those of `CTA_PROTO_ICMPV6`
const ECHO: [u16; 3] = [4, 5, 6];
const ECHO6: [u16; 3] = [7, 8, 9];

/// One direction of a flow. An echo has its identifier in the place of both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Tuple {
    /// `None`: of another protocol than TCP, UDP and the two ICMP, or cut off.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (addresses, numbers) = (attribute(bytes, ADDRESSES)?, attribute(bytes, PROTOCOL)?);
        let protocol = *attribute(numbers, NUMBER)?.first()?;
        let [from, to] = if attribute(addresses, V6[0]).is_some() { V6 } else { V4 };
        let address = |number| -> Option<IpAddr> {
            let octets = attribute(addresses, number)?;
            let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
        };
        let [source, destination] = match protocol {
            TCP | UDP => PORTS,
            ICMP => [ECHO[0]; 2],
            ICMP6 => [ECHO6[0]; 2],
            _ => return None,
        };
        let end = |address, port: u16| {
            let port = <[u8; 2]>::try_from(attribute(numbers, port)?).ok()?;
            Some(SocketAddr::new(address, u16::from_be_bytes(port)))
        };
        Some(Self {
            protocol,
            source: end(address(from)?, source)?,
            destination: end(address(to)?, destination)?,
        })
    }

    /// What is in `CTA_TUPLE_ORIG` or `CTA_TUPLE_REPLY`. `None`: of a protocol that [`read`](Self::read) does not know
    /// either, or of two families.
    pub fn build(&self) -> Option<Vec<u8>> {
        let Self { protocol, source, destination } = *self;
        let addresses = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => values(V4, [&from.octets(), &to.octets()]),
            (IpAddr::V6(from), IpAddr::V6(to)) => values(V6, [&from.octets(), &to.octets()]),
            _ => return None,
        };
        let [from, to] = [source, destination].map(|end| end.port().to_be_bytes());
        let numbers = match protocol {
            TCP | UDP => values(PORTS, [&from, &to]),
            ICMP => values(ECHO, [&from, &[icmp::ECHO_REQUEST], &[0]]),
            ICMP6 => values(ECHO6, [&from, &[icmp6::ECHO_REQUEST], &[0]]),
            _ => return None,
        };
        let numbers = [build::attribute(NUMBER, &[protocol]), numbers].concat();
        Some([nested(ADDRESSES, &[addresses]), nested(PROTOCOL, &[numbers])].concat())
    }

    /// The body of a request about the entry that has it as one of its two.
    pub fn question(&self) -> Option<Vec<u8>> {
        let family = if self.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut body = vec![family as u8, 0, 0, 0];
        body.extend(nested(ORIGINAL, &[self.build()?]));
        Some(body)
    }
}

fn values<const N: usize>(numbers: [u16; N], values: [&[u8]; N]) -> Vec<u8> {
    numbers.iter().zip(values).flat_map(|(number, value)| build::attribute(*number, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(protocol: u8, source: &str, destination: &str) -> Tuple {
        Tuple { protocol, source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn a_tuple_is_read_as_it_is_asked_for() {
        for tuple in [
            tuple(TCP, "10.0.0.11:5000", "203.0.113.10:80"),
            tuple(ICMP, "10.0.0.11:7", "203.0.113.10:7"),
            tuple(UDP, "[fd00::b]:5000", "[2001:db8::a]:53"),
            tuple(ICMP6, "[fd00::b]:7", "[2001:db8::a]:7"),
        ] {
            let bytes = tuple.build().unwrap();
            assert_eq!(Tuple::read(&bytes), Some(tuple));
            for length in 0..bytes.len() - 4 {
                assert_eq!(Tuple::read(&bytes[..length]), None, "{length} bytes of {tuple:?}");
            }
        }
    }

    #[test]
    fn what_conntrack_has_no_ports_of_is_not_asked_for() {
        assert_eq!(tuple(47, "10.0.0.11:0", "203.0.113.10:0").build(), None);
        assert_eq!(tuple(UDP, "10.0.0.11:1", "[2001:db8::a]:1").build(), None);
    }

    #[test]
    fn an_entry_is_asked_for_by_family_and_tuple() {
        let body = tuple(TCP, "10.0.0.2:5000", "192.0.2.1:443").question().unwrap();
        assert_eq!(body[..HEADER], [2, 0, 0, 0]);
        let bytes = attribute(&body[HEADER..], ORIGINAL).unwrap();
        assert_eq!(attribute(attribute(bytes, 1).unwrap(), 2), Some(&[192, 0, 2, 1][..]));
        assert_eq!(attribute(attribute(bytes, 2).unwrap(), 1), Some(&[6][..]));
        assert_eq!(attribute(attribute(bytes, 2).unwrap(), 2), Some(&5000_u16.to_be_bytes()[..]));
        assert_eq!(tuple(TCP, "[2001:db8::1]:1", "[2001:db8::2]:2").question().unwrap()[0], 10);
    }
}
