//! The addresses that the datapath answers ARP for.

use std::net::Ipv4Addr;

use natbpf_common::contract::forwards::{External, ExternalFlags, ExternalKey};

use super::Plan;
use crate::{announce::Announced, network::Snapshot};

impl Plan {
    /// At links that are up.
    pub fn announced(&self, snapshot: &Snapshot) -> Vec<Announced> {
        let answered = |(key, external): &&(ExternalKey, External)| {
            let link = snapshot.link(key.uplink);
            external.has(ExternalFlags::ANSWER) && link.is_some_and(|link| link.running && link.mac.is_some())
        };
        let announced = |(key, external): &(ExternalKey, External)| Announced {
            interface: key.uplink,
            mac: external.mac,
            address: Ipv4Addr::from(key.address),
        };
        self.externals.iter().filter(answered).map(announced).collect()
    }
}
