//! What the outside reaches inside, and the external addresses that are not the uplink's own: pools, port forwards,
//! floating addresses.

use std::{collections::HashSet, net::Ipv4Addr};

use natbpf_common::{
    Address, Port,
    contract::{
        forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOL, Pool},
        rules::Rule,
        uplinks::Uplink,
    },
    wire::protocol::{TCP, UDP},
};

use super::{
    DestinationEntry, Plan, PlannedRule, PlannedUplink, SourceEntry, ports, reverse::mark_mostly_forwarded,
};
use crate::{
    announce::Announced,
    config::{
        Action, AddressPool, Config, Filtering, Floating, PortForward, Protocol, Quota, Translation,
        Unsolicited,
    },
    network::{Ipv4Address, Snapshot},
};

/// An entry of the longest-prefix map of forwards: the length of its prefix, its key, its value.
pub type ForwardEntry = (u32, ForwardKey, Forward);

impl Plan {
    /// The number of a pool, which is added if it is new.
    pub(super) fn pool(&mut self, pool: &AddressPool) -> u32 {
        let mut addresses = [Address::UNSPECIFIED; MAX_POOL];
        for (place, address) in addresses.iter_mut().zip(pool.addresses()) {
            *place = Address::from(*address);
        }
        let pool = Pool { count: pool.addresses().len() as u32, addresses };
        let number = self.pools.iter().position(|known| *known == pool).unwrap_or_else(|| {
            self.pools.push(pool);
            self.pools.len() - 1
        });
        number as u32
    }

    /// The rules with the places that their pools have in the datapath.
    pub fn with_pools(&self, places: &[u32]) -> (Vec<SourceEntry>, Vec<DestinationEntry>) {
        let placed = |rule: Rule| match places.get(rule.pool as usize) {
            Some(&pool) if rule.has(Rule::POOL) => Rule { pool, ..rule },
            _ => rule,
        };
        (
            self.sources.iter().map(|&(length, key, rule)| (length, key, placed(rule))).collect(),
            self.destinations.iter().map(|&(length, key, rule)| (length, key, placed(rule))).collect(),
        )
    }

    /// Fills in everything that is about the outside beginning something.
    pub(super) fn serve(&mut self, config: &Config, rules: &[PlannedRule<'_>], snapshot: &Snapshot) {
        let mut foreign: Vec<(usize, Ipv4Addr)> = Vec::new();
        let mut forwards = Vec::new();
        for (place, uplink) in self.uplinks.iter_mut().enumerate() {
            let here: Vec<&Translation> = rules
                .iter()
                .filter(|planned| planned.uplinks.contains(&uplink.interface))
                .filter_map(|planned| match &planned.rule.action {
                    Action::Masquerade(translation) => Some(translation),
                    Action::Exempt => None,
                })
                .collect();
            let pools = here.iter().filter_map(|translation| translation.pool.as_ref());
            let mut addresses: Vec<Ipv4Addr> =
                pools.flat_map(|pool| pool.addresses().iter().copied()).collect();
            self.pooled.extend(addresses.iter().map(|&address| (uplink.interface, Address::from(address))));
            for floating in config.floating.iter().filter(|floating| floating.uplink == uplink.name) {
                addresses.push(floating.pair.external);
                forwards.push(floating_entry(uplink.interface, floating));
            }
            for forward in config.forwards.iter().filter(|forward| forward.uplink == uplink.name) {
                let externals = externals(uplink, forward, snapshot);
                forwards.extend(externals.iter().flat_map(|&external| entries(uplink, forward, external)));
                addresses.extend(externals.into_iter().filter(|external| !uplink.has(*external)));
            }
            let open = |translation: &&Translation| {
                translation.behaviour.filtering != Filtering::AddressAndPortDependent
            };
            let silent = |translation: &&Translation| translation.behaviour.unsolicited == Unsolicited::Drop;
            let leads_inside = forwards.iter().any(|(_, key, _)| key.uplink == uplink.interface);
            if leads_inside || !addresses.is_empty() || here.iter().any(open) {
                uplink.uplink.flags |= Uplink::SERVES;
            }
            if here.iter().any(silent) {
                uplink.uplink.flags |= Uplink::SILENT;
            }
            foreign.extend(addresses.into_iter().map(|address| (place, address)));
        }
        mark_mostly_forwarded(&mut self.uplinks, &forwards);
        self.forwards = forwards;
        self.list_externals(&foreign, snapshot);
    }

    fn list_externals(&mut self, foreign: &[(usize, Ipv4Addr)], snapshot: &Snapshot) {
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        let mut add = |key: ExternalKey, uplink: &PlannedUplink, flags: u32| {
            if seen.insert(key) {
                let external =
                    External { uplink: uplink.interface, flags, mac: uplink.mac, reserved: [0; 2] };
                list.push((key, external));
            }
        };
        for (place, address) in foreign {
            let uplink = &self.uplinks[*place];
            let answer = if on_host(snapshot, *address) { 0 } else { External::ANSWER };
            let key = ExternalKey { uplink: uplink.interface, address: Address::from(*address) };
            add(key, uplink, answer);
            add(ExternalKey { uplink: 0, ..key }, uplink, answer);
        }
        // An address that is lent to an uplink belongs to its own, if that is one.
        for lent in [false, true] {
            for uplink in &self.uplinks {
                for address in uplink.addresses() {
                    if lent != on_interface(snapshot, uplink.interface, address) {
                        add(ExternalKey { uplink: 0, address: Address::from(address) }, uplink, 0);
                    }
                }
            }
        }
        self.externals = list;
    }

    /// The addresses that the datapath answers ARP for, at links that are up.
    pub fn announced(&self, snapshot: &Snapshot) -> Vec<Announced> {
        let answered = |(key, external): &&(ExternalKey, External)| {
            let link = snapshot.links.iter().find(|link| link.index == key.uplink);
            external.has(External::ANSWER) && link.is_some_and(|link| link.running && link.mac.is_some())
        };
        let announced = |(key, external): &(ExternalKey, External)| Announced {
            interface: key.uplink,
            mac: external.mac,
            address: Ipv4Addr::from(key.address),
        };
        self.externals.iter().filter(answered).map(announced).collect()
    }
}

impl PlannedUplink {
    /// Those that it masquerades with.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let addresses = self.uplink.addresses.iter().take(self.uplink.address_count as usize);
        addresses.map(|address| Ipv4Addr::from(address.local))
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses().any(|own| own == address)
    }
}

/// What the source of a floating address gets.
pub fn floating_rule(floating: &Floating, max_flows: u32) -> Rule {
    let max_flows = Quota::Quarter.limit(max_flows);
    Rule { flags: Rule::FIXED, address: Address::from(floating.pair.external), max_flows, ..Rule::default() }
}

fn floating_entry(interface: u32, floating: &Floating) -> ForwardEntry {
    let key = ForwardKey {
        uplink: interface,
        address: Address::from(floating.pair.external),
        protocol: 0,
        reserved: 0,
        port: Port::new(0),
    };
    let address = Address::from(floating.pair.inside);
    (ForwardKey::ADDRESS_BITS, key, Forward { address, port_offset: 0, flags: Rule::FIXED as u16 })
}

/// The external addresses of a forward.
fn externals(uplink: &PlannedUplink, forward: &PortForward, snapshot: &Snapshot) -> Vec<Ipv4Addr> {
    if let Some(address) = forward.redirection.address {
        return vec![address];
    }
    let mut addresses: Vec<Ipv4Addr> = uplink.addresses().collect();
    for address in &snapshot.addresses {
        let reachable = address.interface == uplink.interface && address.scope < Ipv4Address::SCOPE_HOST;
        if reachable && !addresses.contains(&address.local) {
            addresses.push(address.local);
        }
    }
    addresses
}

/// The entries of a forward by one of its addresses.
fn entries(uplink: &PlannedUplink, forward: &PortForward, external: Ipv4Addr) -> Vec<ForwardEntry> {
    let redirection = &forward.redirection;
    // The datapath looks among the uplink's own addresses for that of a flow, unless it is told not to.
    let flags = if uplink.has(external) { 0 } else { Rule::POOL as u16 };
    let value =
        Forward { address: Address::from(redirection.to.address), port_offset: redirection.offset(), flags };
    let prefixes = ports::prefixes(redirection.ports.first(), redirection.ports.last());
    let of_protocol = |protocol: &Protocol| {
        let protocol = match protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        prefixes.iter().map(move |prefix| {
            let port = Port::new(prefix.first);
            let address = Address::from(external);
            let key = ForwardKey { uplink: uplink.interface, address, protocol, reserved: 0, port };
            (ForwardKey::PORT_BITS - 16 + u32::from(prefix.length), key, value)
        })
    };
    redirection.protocols().iter().flat_map(of_protocol).collect()
}

/// Whether the host has an address, on whatever interface: it answers ARP for it by itself.
fn on_host(snapshot: &Snapshot, address: Ipv4Addr) -> bool {
    snapshot.addresses.iter().any(|known| known.local == address)
}

fn on_interface(snapshot: &Snapshot, interface: u32, address: Ipv4Addr) -> bool {
    snapshot.addresses.iter().any(|known| known.interface == interface && known.local == address)
}
