//! The filter as the datapath's programs compare it.

use std::net::IpAddr;

use ipnet::IpNet;
use natbpf_common::contract::trace::{Filter, Network, asks};

use crate::cli::{EndsArgs, PacketArgs};

/// A source of one family and a destination of the other.
#[derive(Debug, thiserror::Error)]
#[error("no packet has a source of IPv4 and a destination of IPv6, or the other way round")]
pub struct Mixed;

/// Without the device, whose index is not known here.
pub fn filter(arguments: &PacketArgs) -> Result<Filter, Mixed> {
    let PacketArgs { edge: _, ends: EndsArgs { protocol, source, destination }, sport, dport } = arguments;
    let mut filter = Filter::default();
    for (network, bit) in [(source, asks::SOURCE), (destination, asks::DESTINATION)] {
        let Some(network) = network else { continue };
        let version = if network.addr().is_ipv4() { 4 } else { 6 };
        if filter.version != 0 && filter.version != version {
            return Err(Mixed);
        }
        filter.version = version;
        filter.asks |= bit;
        *(if bit == asks::SOURCE { &mut filter.source } else { &mut filter.destination }) = words(*network);
    }
    if let Some(protocol) = protocol {
        (filter.protocol, filter.asks) = ((*protocol).into(), filter.asks | asks::PROTOCOL);
    }
    if let Some(port) = sport {
        (filter.sport, filter.asks) = (port.to_be(), filter.asks | asks::SPORT);
    }
    if let Some(port) = dport {
        (filter.dport, filter.asks) = (port.to_be(), filter.asks | asks::DPORT);
    }
    Ok(filter)
}

fn words(network: IpNet) -> Network {
    Network { address: halves(network.network()), mask: halves(network.netmask()) }
}

fn halves(address: IpAddr) -> [u64; 2] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    let (first, second) = bytes.split_at(8);
    [first, second].map(|half| u64::from_ne_bytes(*half.first_chunk().unwrap_or(&[0; 8])))
}

#[cfg(test)]
mod tests {
    use natbpf_common::contract::trace::Tuple;

    use super::*;

    #[test]
    fn networks_of_both_families_contain_what_they_should() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.11/32", "10.0.0.11", "10.0.0.12"),
            ("0.0.0.0/0", "192.0.2.1", ""),
            ("fd00::/65", "fd00::1", "fd00:0:0:0:8000::1"),
            ("fd00::1/128", "fd00::1", "fd00::2"),
        ] {
            let ends = EndsArgs { source: network.parse().ok(), ..Default::default() };
            let filter = filter(&PacketArgs { ends, ..Default::default() }).unwrap();
            let tuple = |address: &str| {
                let address: IpAddr = address.parse().unwrap();
                let (own, other) = (halves(address), [u64::MAX; 2]);
                let version = if address.is_ipv4() { 4 } else { 6 };
                Tuple { source: own, destination: other, version, ..Tuple::default() }
            };
            assert!(filter.matches(&tuple(inside)), "{network}");
            assert!(outside.is_empty() || !filter.matches(&tuple(outside)), "{network}");
        }
    }

    #[test]
    fn families_are_not_mixed() {
        let (source, destination) = ("10.0.0.1/32".parse().ok(), "fd00::1/128".parse().ok());
        let ends = EndsArgs { protocol: None, source, destination };
        assert!(filter(&PacketArgs { ends, ..Default::default() }).is_err());
    }
}
