//! Values that the file and the command line spell alike, and what is wrong with them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use natbpf_common::contract::forwards::MAX_POOL;

use super::DatapathConfig;

/// External ports in host order, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// Why a value was refused, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("\"{0}\" is not an IPv4 network; write it like 10.0.0.0/24 or 10.0.0.5")]
    Network(String),
    #[error("{0} is IPv6, which natbpf does not translate; give an IPv4 network")]
    Ipv6(String),
    #[error("{network} has host bits set; write {corrected}")]
    HostBits { network: Ipv4Net, corrected: Ipv4Net },
    #[error(
        "\"{0}\" cannot be the name of an interface; it has 1 to 15 bytes without space, \"/\" and \":\""
    )]
    Interface(String),
    #[error("\"{0}\" is for several interfaces, and one is wanted; give each by its name")]
    SeveralInterfaces(String),
    #[error("\"{0}\" is not a range of ports; write it like 50000-50010, within 1 to 65535")]
    Ports(String),
    #[error("{0} is given twice; leave one out")]
    Twice(Ipv4Net),
    #[error(
        "\"{0}\" is not an IPv4 address or a range of them; write it like 203.0.113.1 or 203.0.113.9-203.0.113.11"
    )]
    AddressRange(String),
    #[error("{0} cannot be the address of a host; give one that is")]
    NoHost(Ipv4Addr),
    #[error("\"{0}\" is not an IPv4 address; write it like 203.0.113.1")]
    Address(String),
    #[error(
        "\"{0}\" is not a forward; write it like [ADDRESS:]PROTOCOL:PORT[-PORT]:INSIDE[:PORT], \
         for instance tcp:8080:10.0.0.11:80, with tcp or udp"
    )]
    Redirection(String),
    #[error(
        "\"{0}\" is not an inside address with or without a port; write it like 10.0.0.11:80 or 10.0.0.11"
    )]
    Target(String),
    #[error(
        "the inside port {first} and {more} more are beyond 65535; choose a lower one",
        more = .ports.last() - .ports.first()
    )]
    TargetPorts { first: u16, ports: Ports },
    #[error("\"{0}\" is not a floating address and its host; write it like 203.0.113.50=10.0.0.11")]
    Pair(String),
    #[error("a pool has at most {MAX_POOL} addresses; make another rule for other sources with the rest")]
    PoolSize,
    #[error("revalidate = \"{text}\" is not a duration ({error}); write it like \"10s\"")]
    Duration { text: String, error: String },
    #[error(
        "revalidate = \"{text}\" is not within {} to {}; write \"10s\", or leave it out",
        humantime::format_duration(DatapathConfig::MIN_REVALIDATE),
        humantime::format_duration(DatapathConfig::MAX_REVALIDATE)
    )]
    Revalidate { text: String },
}

impl Ports {
    /// The ends may be given in either order, as to iptables. `None` if one of them is 0. Row M18.
    pub const fn new(a: u16, b: u16) -> Option<Self> {
        match (a, b) {
            (0, _) | (_, 0) => None,
            (first, last) if first <= last => Some(Self { first, last }),
            (last, first) => Some(Self { first, last }),
        }
    }

    pub const fn first(self) -> u16 {
        self.first
    }

    pub const fn last(self) -> u16 {
        self.last
    }

    /// As text, one port as one number.
    pub fn short(self) -> String {
        if self.first == self.last { self.first.to_string() } else { self.to_string() }
    }
}

impl FromStr for Ports {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok();
        port(first)
            .zip(port(last))
            .and_then(|(first, last)| Self::new(first, last))
            .ok_or_else(|| ValueError::Ports(text.to_owned()))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Parses a network; an address alone is a network of its own, and the length may be a mask, as with
/// iptables.
pub fn network(text: &str) -> Result<Ipv4Net, ValueError> {
    let malformed = || ValueError::Network(text.to_owned());
    if text.parse::<IpNet>().is_ok_and(|network| matches!(network, IpNet::V6(_)))
        || text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6())
    {
        return Err(ValueError::Ipv6(text.to_owned()));
    }
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
    let network = match length.parse::<Ipv4Addr>() {
        Ok(mask) => Ipv4Net::with_netmask(address, mask),
        Err(_) => Ipv4Net::new(address, length.parse().map_err(|_| malformed())?),
    }
    .map_err(|_| malformed())?;
    match network.trunc() {
        corrected if corrected == network => Ok(network),
        corrected => Err(ValueError::HostBits { network, corrected }),
    }
}

/// Refuses addresses that no host has: of no network, of this host alone, of groups (RFC 6890).
pub const fn host_address(address: Ipv4Addr) -> Result<Ipv4Addr, ValueError> {
    match address.octets()[0] {
        0 | 127 | 224.. => Err(ValueError::NoHost(address)),
        _ => Ok(address),
    }
}

/// Parses the time for which what the kernel did is repeated.
pub fn revalidate(text: &str) -> Result<Duration, ValueError> {
    let length = humantime::parse_duration(text)
        .map_err(|error| ValueError::Duration { text: text.to_owned(), error: error.to_string() })?;
    if (DatapathConfig::MIN_REVALIDATE..=DatapathConfig::MAX_REVALIDATE).contains(&length) {
        Ok(length)
    } else {
        Err(ValueError::Revalidate { text: text.to_owned() })
    }
}

/// Checks the name of an interface as the kernel does (`dev_valid_name`).
pub fn interface(text: &str) -> Result<String, ValueError> {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':' | b' ' | 0xa0 | 9..=13 | 0);
    if (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.bytes().any(forbidden) {
        Ok(text.to_owned())
    } else {
        Err(ValueError::Interface(text.to_owned()))
    }
}

/// Checks the name of an interface that a configuration does not take for a pattern.
pub fn one_interface(text: &str) -> Result<String, ValueError> {
    if text.starts_with('!') || text.ends_with(['*', '+']) {
        return Err(ValueError::SeveralInterfaces(text.to_owned()));
    }
    interface(text)
}
