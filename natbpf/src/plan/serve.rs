//! What the outside reaches inside, and the external addresses that are not the uplink's own: pools, port forwards,
//! floating addresses.

use std::{collections::HashSet, net::Ipv4Addr};

use natbpf_common::{
    Address, IfIndex,
    contract::{
        forwards::{External, ExternalFlags, ExternalKey},
        uplinks::UplinkFlags,
    },
};

use super::{
    Given, PlannedUplink,
    forward::{self, ForwardEntry},
    rules::PlannedRule,
};
use crate::{
    config::{Filtering, Translation, Unsolicited},
    network::Snapshot,
};

/// Everything that is about the outside beginning something.
#[derive(Default)]
pub struct Served {
    /// [`Uplink::flags`] of each uplink.
    pub flags: Vec<UplinkFlags>,
    /// Addresses of pools, by the interface index of an uplink.
    pub pooled: Vec<(IfIndex, Address)>,
    pub forwards: Vec<ForwardEntry>,
    pub externals: Vec<(ExternalKey, External)>,
}

impl Served {
    pub fn find(given: &Given<'_>, uplinks: &[PlannedUplink], rules: &[PlannedRule<'_>]) -> Self {
        let mut served = Self::default();
        let mut foreign: Vec<(&PlannedUplink, Ipv4Addr)> = Vec::new();
        for uplink in uplinks {
            let rules = rules.iter().filter(|planned| planned.uplinks.contains(&uplink.interface));
            let here: Vec<&Translation> = rules.filter_map(PlannedRule::translation).collect();
            let pools = here.iter().filter_map(|translation| translation.pool.as_ref());
            let pooled: Vec<Ipv4Addr> = pools.flat_map(|pool| pool.addresses().iter().copied()).collect();
            served.pooled.extend(pooled.iter().map(|&address| (uplink.interface, Address::from(address))));
            let (forwards, addresses) = leading_inside(given, uplink);
            let addresses = [pooled, addresses].concat();
            served.flags.push(flags(uplink, &here, &forwards, !addresses.is_empty()));
            served.forwards.extend(forwards);
            foreign.extend(addresses.into_iter().map(|address| (uplink, address)));
        }
        served.externals = externals(uplinks, &foreign, given.snapshot);
        served
    }
}

/// The entries of an uplink's forwards and floating addresses, and which addresses of theirs are not its own.
fn leading_inside(given: &Given<'_>, uplink: &PlannedUplink) -> (Vec<ForwardEntry>, Vec<Ipv4Addr>) {
    let (mut entries, mut foreign) = (Vec::new(), Vec::new());
    for floating in given.config.floating.iter().filter(|floating| floating.uplink == uplink.name) {
        foreign.push(floating.pair.external);
        entries.push(forward::floating(uplink.interface, floating));
    }
    for forward in given.config.forwards.iter().filter(|forward| forward.uplink == uplink.name) {
        for external in forward::externals(uplink, forward, given.snapshot) {
            entries.extend(forward::entries(uplink, forward, external));
            foreign.extend(Some(external).filter(|external| !uplink.has(*external)));
        }
    }
    (entries, foreign)
}

/// What an uplink is, by the translations and forwards that it has.
fn flags(
    uplink: &PlannedUplink,
    here: &[&Translation],
    forwards: &[ForwardEntry],
    has_foreign: bool,
) -> UplinkFlags {
    let open =
        |translation: &&Translation| translation.behaviour.filtering != Filtering::AddressAndPortDependent;
    let silent = |translation: &&Translation| translation.behaviour.unsolicited == Unsolicited::Drop;
    let flags = [
        (!forwards.is_empty() || has_foreign || here.iter().any(open), UplinkFlags::SERVES),
        (here.iter().any(silent), UplinkFlags::SILENT),
        (forward::leads_mostly_inside(uplink, forwards), UplinkFlags::MOSTLY_FORWARDED),
    ];
    flags.into_iter().filter(|(is_so, _)| *is_so).fold(UplinkFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// Which uplink has an external address, and who answers for it.
fn externals(
    uplinks: &[PlannedUplink],
    foreign: &[(&PlannedUplink, Ipv4Addr)],
    snapshot: &Snapshot,
) -> Vec<(ExternalKey, External)> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    let mut add = |key: ExternalKey, uplink: &PlannedUplink, flags: ExternalFlags| {
        if seen.insert(key) {
            let external = External { uplink: uplink.interface, flags, mac: uplink.mac, reserved: [0; 2] };
            list.push((key, external));
        }
    };
    for (uplink, address) in foreign {
        let answer = if on_host(snapshot, *address) { ExternalFlags::empty() } else { ExternalFlags::ANSWER };
        let key = ExternalKey { uplink: uplink.interface, address: Address::from(*address) };
        add(key, uplink, answer);
        add(ExternalKey { uplink: IfIndex::NONE, ..key }, uplink, answer);
    }
    // An address that is lent to an uplink belongs to its own, if that is one.
    for lent in [false, true] {
        for uplink in uplinks {
            for address in uplink.addresses() {
                if lent != on_interface(snapshot, uplink.interface, address) {
                    add(
                        ExternalKey { uplink: IfIndex::NONE, address: Address::from(address) },
                        uplink,
                        ExternalFlags::empty(),
                    );
                }
            }
        }
    }
    list
}

/// Whether the host has an address, on whatever interface: it answers ARP for it by itself.
fn on_host(snapshot: &Snapshot, address: Ipv4Addr) -> bool {
    snapshot.addresses.iter().any(|known| known.local == address)
}

fn on_interface(snapshot: &Snapshot, interface: IfIndex, address: Ipv4Addr) -> bool {
    snapshot.addresses.iter().any(|known| known.interface == interface && known.local == address)
}
