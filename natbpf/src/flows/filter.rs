//! Which flows a command is about.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use natbpf_common::{
    flow::state::State,
    wire::protocol::{DCCP, ESP, GRE, ICMP, SCTP, TCP, UDP, UDPLITE},
};

use super::Flow;

/// Names of protocols that users type, from IANA's "Protocol Numbers".
const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", TCP),
    ("udp", UDP),
    ("icmp", ICMP),
    ("gre", GRE),
    ("esp", ESP),
    ("sctp", SCTP),
    ("dccp", DCCP),
    ("udplite", UDPLITE),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6", 41),
    ("ah", 51),
];

/// A filter; everything that is given has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub protocol: Option<u8>,
    pub source: Option<Ipv4Net>,
    pub destination: Option<Ipv4Net>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    pub state: Option<State>,
}

impl Filter {
    /// Whether the filter excludes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Compares with the tuple that is printed first, as conntrack does. Flows without ports never match a port.
    pub fn matches(&self, flow: &Flow) -> bool {
        let key = &flow.first();
        let ports = matches!(key.protocol, TCP | UDP);
        let host = |address| Ipv4Addr::from(address);
        self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && self.source.is_none_or(|network| network.contains(&host(key.source)))
            && self.destination.is_none_or(|network| network.contains(&host(key.destination)))
            && self.sport.is_none_or(|port| ports && port == key.source_port.number())
            && self.dport.is_none_or(|port| ports && port == key.destination_port.number())
            && self.state.is_none_or(|state| state == flow.state())
    }
}

/// Parses a protocol's name or number.
pub fn protocol(text: &str) -> Result<u8, String> {
    let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    if let Some((_, number)) = named {
        return Ok(*number);
    }
    text.parse().map_err(|_| {
        let names: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("use a number from 0 to 255 or one of {}", names.join(", "))
    })
}

/// Parses conntrack's name of a TCP state.
pub fn state(text: &str) -> Result<State, String> {
    let named = || State::ALL.iter().copied().filter(|state| !state.name().is_empty());
    named().find(|state| state.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = named().map(State::name).collect();
        format!("use one of {}", names.join(", "))
    })
}
