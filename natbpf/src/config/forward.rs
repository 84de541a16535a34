//! What leads inside from outside: port forwards and floating addresses.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use super::{
    Protocol,
    values::{Ports, ValueError, host_address},
};

/// One `[[forward]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// Name of the interface that it arrives at.
    pub uplink: String,
    pub redirection: Redirection,
    /// Inside hosts reach it by the external address, too.
    pub hairpin: bool,
}

/// Which external ports lead where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// External address; `None`: every address of the uplink.
    pub address: Option<Ipv4Addr>,
    /// `None`: TCP and UDP.
    pub protocol: Option<Protocol>,
    /// External ports.
    pub ports: Ports,
    pub to: Target,
}

/// Where external ports lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: Ipv4Addr,
    /// The inside port of the first external one, the others follow; `None`: ports stay.
    pub port: Option<u16>,
}

/// One `[[floating]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floating {
    /// Name of the interface.
    pub uplink: String,
    pub pair: Pair,
    /// Inside hosts reach it by the external address, too.
    pub hairpin: bool,
}

/// An external address and the inside address that it is the same as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub external: Ipv4Addr,
    pub inside: Ipv4Addr,
}

impl Redirection {
    /// Refuses inside ports that there are not.
    pub fn new(
        address: Option<Ipv4Addr>,
        protocol: Option<Protocol>,
        ports: Ports,
        to: Target,
    ) -> Result<Self, ValueError> {
        let more = ports.last() - ports.first();
        match to.port {
            Some(first) if first.checked_add(more).is_none() => Err(ValueError::TargetPorts { first, ports }),
            _ => Ok(Self { address, protocol, ports, to }),
        }
    }

    /// Added to an external port to give the inside port, modulo 65536.
    pub fn offset(&self) -> u16 {
        self.to.port.map_or(0, |port| port.wrapping_sub(self.ports.first()))
    }

    /// Whether something could be meant for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.zip(b).is_none_or(|(a, b)| a == b)
        }
        same(self.address, other.address)
            && same(self.protocol, other.protocol)
            && self.ports.first() <= other.ports.last()
            && other.ports.first() <= self.ports.last()
    }

    pub fn protocols(&self) -> &'static [Protocol] {
        match self.protocol {
            None => &[Protocol::Tcp, Protocol::Udp],
            Some(Protocol::Tcp) => &[Protocol::Tcp],
            Some(Protocol::Udp) => &[Protocol::Udp],
        }
    }
}

/// As on the command line: `[ADDRESS:]PROTOCOL:PORT[-PORT]:INSIDE[:PORT]`.
impl FromStr for Redirection {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let malformed = || ValueError::Redirection(text.to_owned());
        let (address, rest) = match text.split_once(':') {
            Some((start, rest)) if start.contains('.') => (Some(address(start)?), rest),
            _ => (None, text),
        };
        let mut parts = rest.splitn(3, ':');
        let mut next = || parts.next().ok_or_else(malformed);
        let (protocol, ports, to) = (next()?, next()?, next()?);
        let protocol = protocol.parse().map_err(|()| malformed())?;
        Self::new(address, Some(protocol), ports.parse()?, to.parse()?)
    }
}

/// As on the command line.
impl fmt::Display for Redirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}:")?;
        }
        let protocols: Vec<String> = self.protocols().iter().map(Protocol::to_string).collect();
        write!(f, "{}:{}:{}", protocols.join("+"), self.ports.short(), self.to)
    }
}

impl FromStr for Target {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let malformed = || ValueError::Target(text.to_owned());
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        };
        let address = host_address(address.parse().map_err(|_| malformed())?)?;
        let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(malformed));
        Ok(Self { address, port: port.transpose()? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// As on the command line: `ADDRESS=INSIDE`.
impl FromStr for Pair {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (external, inside) = text.split_once('=').ok_or_else(|| ValueError::Pair(text.to_owned()))?;
        Ok(Self { external: address(external)?, inside: address(inside)? })
    }
}

/// Parses the address of a host.
pub fn address(text: &str) -> Result<Ipv4Addr, ValueError> {
    host_address(text.parse().map_err(|_| ValueError::Address(text.to_owned()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirection(text: &str) -> Redirection {
        text.parse().unwrap()
    }

    #[test]
    fn forwards_of_the_command_line() {
        for text in [
            "tcp:8080:10.0.0.11:80",
            "udp:53:10.0.0.11",
            "203.0.113.1:tcp:8000-8099:10.0.0.11:9000",
            "203.0.113.1:udp:1-65535:10.0.0.11",
        ] {
            assert_eq!(redirection(text).to_string(), text);
        }
        assert_eq!(redirection("tcp:8080:10.0.0.11:80").offset(), 80u16.wrapping_sub(8080));
        assert_eq!(redirection("tcp:8080:10.0.0.11").offset(), 0);
    }

    #[test]
    fn what_is_no_forward_is_refused() {
        let error = |text: &str| text.parse::<Redirection>().unwrap_err().to_string();
        for text in ["tcp:80", "8080:10.0.0.11:80", "sctp:80:10.0.0.11", ""] {
            assert!(error(text).contains("[ADDRESS:]PROTOCOL:PORT[-PORT]:INSIDE[:PORT]"), "{}", error(text));
        }
        assert!(error("tcp:0:10.0.0.11").contains("within 1 to 65535"));
        assert!(error("tcp:80:10.0.0:80").contains("write it like 10.0.0.11:80 or 10.0.0.11"));
        assert!(error("tcp:80:10.0.0.11:0").contains("write it like 10.0.0.11:80 or 10.0.0.11"));
        assert!(error("tcp:80:127.0.0.1").contains("127.0.0.1 cannot be the address of a host"));
        assert!(error("10.0.0:tcp:80:10.0.0.11").contains("\"10.0.0\" is not an IPv4 address"));
        assert!(error("tcp:1-100:10.0.0.11:65500").contains("65500 and 99 more are beyond 65535"));
        let pair = |text: &str| text.parse::<Pair>().unwrap_err().to_string();
        assert!(pair("203.0.113.50").contains("203.0.113.50=10.0.0.11"));
        assert!(pair("203.0.113.50=255.255.255.255").contains("cannot be the address of a host"));
    }

    #[test]
    fn forwards_overlap_in_address_protocol_and_port() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (redirection(a), redirection(b));
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            a.overlaps(&b)
        };
        assert!(overlap("tcp:80-90:10.0.0.11", "tcp:90-99:10.0.0.12"));
        assert!(overlap("203.0.113.1:tcp:80:10.0.0.11", "tcp:80:10.0.0.12"));
        assert!(!overlap("203.0.113.1:tcp:80:10.0.0.11", "203.0.113.2:tcp:80:10.0.0.12"));
        assert!(!overlap("tcp:80:10.0.0.11", "udp:80:10.0.0.11"));
        assert!(!overlap("tcp:80-89:10.0.0.11", "tcp:90:10.0.0.11"));
        let both = Redirection { protocol: None, ..redirection("tcp:80:10.0.0.11") };
        assert!(both.overlaps(&redirection("udp:80:10.0.0.11")));
        assert_eq!(both.to_string(), "tcp+udp:80:10.0.0.11");
    }
}
