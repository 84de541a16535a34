//! What leads inside, with the packets that fare by it.

use std::net::Ipv4Addr;

use super::{
    line::Line,
    matching::{Devices, Match, Pattern},
    toml::Table,
};

/// What becomes a `[[forward]]` or a `[[floating]]`, with what is needed to see whether anything stops it.
#[derive(Clone, Debug)]
pub struct Inward {
    pub table: Table,
    pub line: Line,
    pub uplink: String,
    pub address: Option<Ipv4Addr>,
    /// The packet as it arrives.
    pub external: Match,
    /// The packet's destination when it has been translated.
    pub arrival: Match,
    /// What is to be said of it.
    pub said: Vec<String>,
}

impl Inward {
    pub fn is_hairpin(&self) -> bool {
        self.table.has("hairpin")
    }

    /// A packet before it is translated.
    pub fn arriving(&self) -> Match {
        // Those for all addresses are for those of the uplink.
        let to_host = if self.address.is_none() { Some(true) } else { self.external.to_host };
        self.entering(&self.external, false, to_host)
    }

    /// A packet after it has been translated: by netfilter, whose conntrack then knows of it, or by natbpf.
    pub fn translated(&self, by_netfilter: bool) -> Match {
        self.entering(&self.arrival, by_netfilter, Some(false))
    }

    fn entering(&self, packet: &Match, redirected: bool, to_host: Option<bool>) -> Match {
        let (redirected, from_host) = (Some(redirected), Some(false));
        Match { input: self.input(), redirected, from_host, to_host, ..packet.clone() }
    }

    /// The protocol and the ports that it is for.
    pub fn reached_by(&self) -> Match {
        let (protocol, ports) = (self.external.protocol.clone(), self.external.ports.clone());
        Match { protocol, ports, ..Match::default() }
    }

    /// An answer on its way from the host to the uplink.
    pub fn answer(&self) -> Match {
        Match {
            input: Devices::not(Pattern::exact(&self.uplink)),
            output: self.input(),
            source: self.arrival.destination.clone(),
            source_ports: self.arrival.ports.clone(),
            protocol: self.arrival.protocol.clone(),
            to_host: Some(false),
            from_host: Some(false),
            ..Match::default()
        }
    }

    fn input(&self) -> Devices {
        Devices::named(&self.uplink)
    }

    /// The host that it leads to.
    pub fn host(&self) -> Ipv4Addr {
        self.arrival.destination.within.addr()
    }

    /// Where it leads, as the configuration has it.
    pub fn to(&self) -> String {
        let host = self.host();
        match self.arrival.ports.ranges() {
            _ if self.arrival.ports.is_all() => host.to_string(),
            [(first, last)] if first == last => format!("{host}:{first}"),
            [(first, last), ..] => format!("{host}:{first}-{last}"),
            [] => host.to_string(),
        }
    }
}
