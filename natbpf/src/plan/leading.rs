//! Which interfaces lead to inside hosts.

use std::collections::BTreeSet;

use natbpf_common::IfIndex;

use crate::{config::Networks, network::Snapshot};

/// Indexes of the interfaces that have an address whose subnet has some of the networks' addresses, or a route to
/// some. The route to everything says nothing.
pub fn leading_to(networks: &[Networks], snapshot: &Snapshot) -> BTreeSet<IfIndex> {
    let addresses = snapshot.addresses.iter();
    let connected = addresses.filter_map(|address| Some((address.interface, address.network()?)));
    let routed = snapshot.routes.iter().filter(|route| route.network.prefix_len() > 0);
    let routed = routed.map(|route| (route.interface, route.network.trunc()));
    let mut leading = BTreeSet::new();
    for (interface, network) in connected.chain(routed) {
        // There may be a million routes, and most of them by one interface.
        if !leading.contains(&interface) && networks.iter().any(|networks| networks.touches(network)) {
            leading.insert(interface);
        }
    }
    leading
}
