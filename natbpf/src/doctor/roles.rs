//! Who is what on a host: routers, the networks of instances behind them, and the instances.
//!
//! Roles are told from what is certain only: an instance whose default route leads here, or machines that can have no
//! other router. A machine with two network cards is no router for that, nor one with a bridge that machines are at.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{
    attached::{self, Attached},
    outside::OUTSIDE,
    reached::Reached,
};
use crate::facts::{Device, Hook, Host, Packet, Place};

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
    let others: Vec<_> = others.collect();
    let mut router = Router { place, insides: Vec::new(), uplinks };
    router.insides = others.into_iter().flat_map(|device| insides(host, &router, device)).collect();
    (!router.insides.is_empty()).then_some(router)
}

/// The networks of instances on a device.
fn insides<'a>(host: &'a Host, router: &Router<'a>, device: &'a Device) -> Vec<Inside<'a>> {
    let place = router.place;
    let nets: Vec<_> = place
        .addresses_of(device)
        .filter_map(|address| match address.net {
            IpNet::V4(net) if net.prefix_len() < 31 => Some(net),
            _ => None,
        })
        .collect();
    if nets.is_empty() {
        return Vec::new();
    }
    let behind = Reached::of(host, place, device);
    let inside = |net: Ipv4Net| {
        let led = |(there, _): &&(&'a Place, &'a Device)| {
            let leads_here = |gateway: Option<IpAddr>| gateway == Some(IpAddr::V4(net.addr()));
            there.defaults().iter().any(|route| route.hops.iter().any(|hop| leads_here(hop.gateway)))
        };
        let numbered =
            |(there, device): &&(&'a Place, &'a Device)| address(there, device, net.trunc()).is_some();
        let instances: Vec<_> = behind.ends.iter().filter(|end| led(end) || numbered(end)).copied().collect();
        let certain = instances.iter().any(|end| led(&end));
        let inside = Inside { device, net, instances };
        (certain || behind.guests && is_gateway_of_guests(host, router, &inside, &behind)).then_some(inside)
    };
    nets.into_iter().filter_map(inside).collect()
}

/// Whether machines whose routes nobody sees go out by this router, and not by another one beside it: they are told so,
/// what they send is translated here, or there is nothing else. A network that a rule keeps in has no router.
fn is_gateway_of_guests(host: &Host, router: &Router<'_>, inside: &Inside<'_>, behind: &Reached<'_>) -> bool {
    let (place, name) = (router.place, &inside.device.name);
    let told = host.daemons.iter().filter(|daemon| daemon.namespace == place.inode).any(|daemon| {
        let told = daemon.dnsmasq.as_ref().filter(|told| told.serves(name, &[inside.net.addr()]));
        told.is_some_and(|told| told.tells_of(inside.net))
    });
    let packet = |output: &Device, source| Packet::forwarded(name, &output.name, source, OUTSIDE[0]);
    let translated = router.uplinks.iter().any(|uplink| {
        let source = |source| place.firewall.source(&packet(uplink.device, source));
        let by_us = host.natbpf.iter().any(|own| own.translates_at(place.cookie, uplink.device.index));
        // A rule for whatever leaves there says nothing of this network.
        by_us && !behind.open || source(inside.example()).is_some() && source(OUTSIDE[1]).is_none()
    });
    let kept_in = || {
        let output = router.uplinks.first().map_or("", |uplink| &uplink.device.name);
        let packet = Packet::forwarded(name, output, inside.example(), OUTSIDE[0]);
        let drop = place.firewall.drops(&[Hook::Prerouting, Hook::Forward, Hook::Postrouting], &packet);
        drop.is_some_and(|drop| drop.text.split([' ', '"']).any(|word| word == name))
    };
    told || translated || !behind.open && !kept_in()
}
