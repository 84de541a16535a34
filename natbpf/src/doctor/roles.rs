//! Who is what on a host: routers, the networks of instances behind them, and the instances.
//!
//! Roles are told from what is certain only: a bridge with an address that instances are ports of, or an instance whose
//! default route leads here. A machine with two network cards is no router for that.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::attached::{self, Attached};
use crate::facts::{Device, Host, Place};

/// A host with its roles.
#[derive(Debug)]
pub struct Site<'a> {
    pub host: &'a Host,
    pub routers: Vec<Router<'a>>,
    /// Every instance with the way to its router.
    pub attached: Vec<Attached<'a>>,
}

/// A namespace that networks of instances go out by.
#[derive(Debug)]
pub struct Router<'a> {
    pub place: &'a Place,
    pub insides: Vec<Inside<'a>>,
    /// The ways of its default routes; none where there is no default route.
    pub uplinks: Vec<Uplink<'a>>,
}

/// A network of instances.
#[derive(Debug)]
pub struct Inside<'a> {
    /// The router's device in it.
    pub device: &'a Device,
    /// The router's address there, with the length of the network.
    pub net: Ipv4Net,
    /// Devices of instances in it, as far as their namespaces are seen.
    pub instances: Vec<(&'a Place, &'a Device)>,
}

/// Where packets leave.
#[derive(Debug)]
pub struct Uplink<'a> {
    pub device: &'a Device,
    pub gateway: Option<Ipv4Addr>,
}

impl<'a> Site<'a> {
    pub fn of(host: &'a Host) -> Self {
        let mut routers: Vec<_> = host.places.iter().filter_map(|place| router(host, place)).collect();
        // A router at the other end of a pair is no instance: this is the way out of its own.
        let places = routers.iter().map(|router| router.place.cookie);
        let places: Vec<u64> = places.chain(attached::gateways(host)).collect();
        for router in &mut routers {
            router.insides.retain(|inside| {
                let routes = |(place, _): &(&Place, &Device)| places.contains(&place.cookie);
                inside.device.bridge.is_some() || !inside.instances.iter().all(routes)
            });
        }
        routers.retain(|router| !router.insides.is_empty());
        let known = routers.iter().flat_map(|router| {
            let ends = |inside: &Inside<'a>| {
                let (device, net) = ((router.place, inside.device), inside.net);
                inside.instances.iter().map(|instance| (device, net, *instance)).collect::<Vec<_>>()
            };
            router.insides.iter().flat_map(ends)
        });
        let attached = attached::list(host, known.collect(), &places);
        Self { host, routers, attached }
    }

    /// Every instance with its router and its network there.
    pub fn instances(&self) -> impl Iterator<Item = (&Router<'a>, &Inside<'a>, &'a Place, &'a Device)> {
        self.routers.iter().flat_map(|router| {
            router.insides.iter().flat_map(move |inside| {
                inside.instances.iter().map(move |(place, device)| (router, inside, *place, *device))
            })
        })
    }
}

impl Inside<'_> {
    /// An address of an instance: one that is there, or one that could be.
    pub fn example(&self) -> Ipv4Addr {
        let there = self.instances.iter().find_map(|(place, device)| address(place, device, self.net));
        there.unwrap_or_else(|| {
            let mut hosts = self.net.hosts().filter(|address| *address != self.net.addr());
            hosts.next().unwrap_or_else(|| self.net.addr())
        })
    }

    pub fn network(&self) -> Ipv4Net {
        self.net.trunc()
    }
}

/// Its address in a network.
fn address(place: &Place, device: &Device, network: Ipv4Net) -> Option<Ipv4Addr> {
    place.addresses_of(device).find_map(|address| match address.net.addr() {
        IpAddr::V4(address) if network.contains(&address) => Some(address),
        _ => None,
    })
}

fn router<'a>(host: &'a Host, place: &'a Place) -> Option<Router<'a>> {
    let uplinks: Vec<Uplink<'_>> = place
        .defaults()
        .into_iter()
        .flat_map(|route| &route.hops)
        .filter_map(|hop| {
            let gateway = match hop.gateway {
                Some(IpAddr::V4(gateway)) => Some(gateway),
                _ => None,
            };
            Some(Uplink { device: place.device(hop.device)?, gateway })
        })
        .collect();
    let is_uplink = |device: &Device| uplinks.iter().any(|uplink| uplink.device.index == device.index);
    let others = place.devices.iter().filter(|device| device.is_ethernet() && !is_uplink(device));
    let insides: Vec<_> = others.flat_map(|device| insides(host, place, device)).collect();
    (!insides.is_empty()).then_some(Router { place, insides, uplinks })
}

/// The networks of instances on a device.
fn insides<'a>(host: &'a Host, place: &'a Place, device: &'a Device) -> Vec<Inside<'a>> {
    let behind = reached(host, place, device);
    let nets = place.addresses_of(device).filter_map(|address| match address.net {
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net),
        _ => None,
    });
    let inside = |net: Ipv4Net| {
        let led = |(there, _): &&(&'a Place, &'a Device)| {
            let leads_here = |gateway: Option<IpAddr>| gateway == Some(IpAddr::V4(net.addr()));
            there.defaults().iter().any(|route| route.hops.iter().any(|hop| leads_here(hop.gateway)))
        };
        let numbered =
            |(there, device): &&(&'a Place, &'a Device)| address(there, device, net.trunc()).is_some();
        let instances: Vec<_> = behind.ends.iter().filter(|end| led(end) || numbered(end)).copied().collect();
        let certain = instances.iter().any(|end| led(&end)) || behind.guests;
        certain.then_some(Inside { device, net, instances })
    };
    nets.filter_map(inside).collect()
}

/// What a frame of a device can reach.
#[derive(Debug, Default)]
struct Reached<'a> {
    /// Devices with the network stacks of other namespaces behind them.
    ends: Vec<(&'a Place, &'a Device)>,
    /// Machines or containers are there, as their kind of device says.
    guests: bool,
}

/// Follows pairs and bridges from a device, wherever they lead.
fn reached<'a>(host: &'a Host, place: &'a Place, device: &'a Device) -> Reached<'a> {
    let mut reached = Reached::default();
    let mut seen = vec![(place.cookie, device.index)];
    let mut next = vec![(place, device)];
    while let Some((place, device)) = next.pop() {
        let mut near: Vec<(&Place, &Device)> = Vec::new();
        if device.bridge.is_some() {
            near.extend(place.ports(device).map(|port| (place, port)));
        }
        if let Some(master) = device.master.and_then(|master| place.device(master)) {
            near.push((place, master));
        }
        // What lies on it as a VLAN is another network; of a pair, the other end is the same one.
        if device.is("veth")
            && let Some(peer) = host.peer(place, device)
        {
            near.push(peer);
        }
        for (place, device) in near {
            if seen.contains(&(place.cookie, device.index)) {
                continue;
            }
            seen.push((place.cookie, device.index));
            if device.is("tun") {
                reached.guests = true;
            } else if device.is("veth")
                && device.master.is_none()
                && place.addresses_of(device).next().is_some()
            {
                reached.ends.push((place, device));
            } else {
                next.push((place, device));
            }
        }
    }
    // A container's end that nobody sees is one, too.
    reached.guests |= device.bridge.is_some()
        && place
            .ports(device)
            .any(|port| port.is("veth") && port.leads_to.is_some() && host.peer(place, port).is_none());
    reached
}
