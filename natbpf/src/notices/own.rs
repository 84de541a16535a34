//! What the addresses of the host say about who must not be answered.

use std::{collections::BTreeSet, net::Ipv4Addr};

use crate::network::{Ipv4Address, Snapshot};

/// The host's own addresses and the broadcast addresses of its subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    addresses: BTreeSet<Ipv4Addr>,
    broadcasts: BTreeSet<Ipv4Addr>,
}

impl Own {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            addresses: snapshot.addresses.iter().map(|address| address.local).collect(),
            broadcasts: snapshot.addresses.iter().filter_map(broadcast).collect(),
        }
    }

    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether the address stands for a single host, so far as can be told (RFC 1812, section 4.3.2.7).
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        // 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on multicast, class E and the limited broadcast.
        let [first, ..] = address.octets();
        (1..=223).contains(&first) && first != 127 && !self.broadcasts.contains(&address)
    }
}

/// The last address of a subnet, where it is not a host's.
fn broadcast(address: &Ipv4Address) -> Option<Ipv4Addr> {
    let hosts = match address.prefix_length {
        0 => u32::MAX,
        // RFC 3021: both addresses of a /31 are hosts.
        length @ 1..=30 => u32::MAX >> length,
        _ => return None,
    };
    Some((u32::from(address.peer) | hosts).into())
}

#[cfg(test)]
pub(super) mod tests {
    use natbpf_common::IfIndex;

    use super::*;

    pub fn own(networks: &[&str]) -> Own {
        let addresses = networks.iter().map(|network| {
            let network: ipnet::Ipv4Net = network.parse().unwrap();
            Ipv4Address {
                interface: IfIndex::new(2),
                local: network.addr(),
                peer: network.addr(),
                prefix_length: network.prefix_len(),
                scope: Ipv4Address::SCOPE_GLOBAL,
                secondary: false,
            }
        });
        Own::of(&Snapshot { addresses: addresses.collect(), ..Snapshot::default() })
    }

    #[test]
    fn only_what_stands_for_one_host_is_a_host() {
        let own = own(&["10.0.0.1/24", "203.0.113.1/29", "192.0.2.0/31", "198.51.100.7/32"]);
        let host = |address: &str| own.is_host(address.parse().unwrap());
        for address in ["10.0.0.11", "10.0.0.1", "10.0.1.255", "1.0.0.0", "223.255.255.255", "192.0.2.1"] {
            assert!(host(address), "{address}");
        }
        for address in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"] {
            assert!(!host(address), "{address}");
        }
        for broadcast in ["255.255.255.255", "10.0.0.255", "203.0.113.7"] {
            assert!(!host(broadcast), "{broadcast}");
        }
        assert!(own.has("198.51.100.7".parse().unwrap()) && !own.has("198.51.100.8".parse().unwrap()));
    }
}
