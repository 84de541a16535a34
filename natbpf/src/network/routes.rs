//! The routes of the network namespace, of all tables.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use natbpf_common::IfIndex;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

/// A path to a network by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Interface index.
    pub interface: IfIndex,
    pub network: Ipv4Net,
}

/// Those to networks beyond interfaces; of a route with several next hops each.
pub fn routes(message: &RouteMessage) -> Vec<Route> {
    if message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let (mut address, mut interfaces) = (Ipv4Addr::UNSPECIFIED, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(destination)) => address = *destination,
            RouteAttribute::Oif(interface) => interfaces.push(*interface),
            RouteAttribute::MultiPath(hops) => interfaces.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    let network = Ipv4Net::new(address, message.header.destination_prefix_length);
    let Ok(network) = network else { return Vec::new() };
    interfaces.into_iter().map(|interface| Route { interface: IfIndex::new(interface), network }).collect()
}
