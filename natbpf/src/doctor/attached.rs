//! Instances with their routers, and the way of frames between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};

use super::{
    segment::{End, Segment, key},
    tagging::lost,
};
use crate::facts::{Device, Host, Place, PortState};

/// An instance, and the device of the router that its packets go to.
#[derive(Debug)]
pub struct Attached<'a> {
    pub place: &'a Place,
    pub device: &'a Device,
    /// The instance's address, with the length of its network.
    pub net: Ipv4Net,
    pub router: &'a Place,
    pub inside: &'a Device,
    /// The router's address there, with the length of its network.
    pub gateway: Ipv4Net,
    /// Devices from the instance's to the router's, both included; none: no way leads from one to the other.
    pub steps: Vec<End<'a>>,
}

/// What is known of one already: the router's device with its address, and the instance's.
pub type Known<'a> = (End<'a>, Ipv4Net, End<'a>);

/// `known` ones, and those whose default route leads to an address that only one namespace has. `routers` are the
/// cookies of namespaces that are none.
pub fn list<'a>(host: &'a Host, known: Vec<Known<'a>>, routers: &[u64]) -> Vec<Attached<'a>> {
    let listed: BTreeSet<_> = known.iter().map(|(.., end)| key(*end)).collect();
    let places = host.places.iter().filter(|place| !routers.contains(&place.cookie));
    let led = places.filter_map(|place| led(host, place)).filter(|(.., end)| !listed.contains(&key(*end)));
    let mut segments = BTreeMap::new();
    let all: Vec<Known<'_>> = known.into_iter().chain(led).collect();
    let attached = all.into_iter().filter_map(|(router, gateway, end)| {
        // Where two ways lead there, that which works counts.
        let [working, all] = segments
            .entry(key(router))
            .or_insert_with(|| [Segment::of(host, router, works), Segment::of(host, router, |_| true)]);
        let net = own(end, gateway)?;
        let steps = working.way_from(end).or_else(|| all.way_from(end)).unwrap_or_default();
        let ((place, device), (router, inside)) = (end, router);
        Some(Attached { place, device, net, router, inside, gateway, steps })
    });
    attached.collect()
}

impl<'a> Attached<'a> {
    /// The router's device.
    pub const fn end(&self) -> End<'a> {
        (self.router, self.inside)
    }

    /// Devices between that of the instance and that of the router.
    pub fn between(&self) -> &[End<'a>] {
        let inner = self.steps.len().saturating_sub(1);
        self.steps.get(1..inner).unwrap_or_default()
    }

    /// Whether frames pass both ways, as far as states of devices and VLANs are concerned.
    pub fn passes(&self) -> bool {
        let mut back = self.steps.clone();
        back.reverse();
        !back.is_empty()
            && self.steps.iter().all(|(_, device)| device.up && device.carrier)
            && lost(&self.steps).is_none()
            && lost(&back).is_none()
    }

    /// The instance in a sentence.
    pub fn who(&self) -> String {
        format!("{}{}", self.net.addr(), self.place.within())
    }
}

/// Cookies of the namespaces that default routes of others lead to.
pub fn gateways(host: &Host) -> impl Iterator<Item = u64> {
    host.places.iter().filter_map(|place| led(host, place)).map(|((router, _), ..)| router.cookie)
}

fn works(device: &Device) -> bool {
    device.up && device.port.as_ref().is_none_or(|port| port.state == PortState::Forwarding)
}

/// Its address in the router's network, or any.
fn own((place, device): End<'_>, gateway: Ipv4Net) -> Option<Ipv4Net> {
    let nets = || place.addresses_of(device).filter_map(|address| v4(address.net));
    nets().find(|net| gateway.contains(&net.addr())).or_else(|| nets().next())
}

const fn v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

/// The device that the default route of a namespace leads out by, and its gateway in the same network.
pub fn default_gateway(place: &Place) -> Option<(&Device, Ipv4Net, Ipv4Addr)> {
    let route = *place.defaults().first().filter(|route| route.is_main() && route.hops.len() == 1)?;
    let hop = route.hops.first()?;
    let Some(IpAddr::V4(gateway)) = hop.gateway else { return None };
    let device = place.device(hop.device).filter(|device| device.is_ethernet())?;
    let mut nets = place.addresses_of(device).filter_map(|address| v4(address.net));
    Some((device, nets.find(|net| net.contains(&gateway))?, gateway))
}

fn led<'a>(host: &'a Host, place: &'a Place) -> Option<Known<'a>> {
    let (device, net, gateway) = default_gateway(place)?;
    let others = host.places.iter().filter(|other| other.cookie != place.cookie);
    let mut owners = others.flat_map(|other| {
        let has = |own: &Ipv4Net| own.addr() == gateway && own.contains(&net.addr());
        other.addresses.iter().filter_map(move |address| {
            Some(((other, other.device(address.device)?), v4(address.net).filter(has)?))
        })
    });
    let (router, own) = owners.next().filter(|((router, _), _)| router.forwards())?;
    owners.next().is_none().then_some((router, own, (place, device)))
}
