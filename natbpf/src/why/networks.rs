//! Which networks a flow passes. Others on the host may have the same addresses, and ask for them at the same time.

use std::{collections::BTreeSet, net::IpAddr};

use super::trace::{Trace, Way};
use crate::{
    doctor::{End, Segment, key},
    facts::{Device, Host, Place},
};

/// Leaves out what was asked about neighbours in networks that the flow does not pass. `edge`: where it begins.
pub fn keep_own(host: &Host, edge: &Device, trace: &mut Trace) {
    let mut roots: Vec<End<'_>> = vec![(host.home(), edge)];
    for hop in trace.there.iter().chain(&trace.back) {
        let Some(place) = host.at(hop.place) else { continue };
        let Some(device) = place.device(hop.device) else { continue };
        roots.push((place, device));
        if hop.way == Way::In && device.port.is_none() {
            roots.extend(beside(place, device).map(|device| (place, device)));
        }
    }
    let mut own = BTreeSet::new();
    for root in roots {
        // What another one has reached, that one has gone on from.
        if !own.contains(&key(root)) {
            own.extend(around(host, root));
        }
    }
    trace.questions.retain(|sight| own.contains(&(sight.namespace, sight.device)));
}

/// All devices that frames of one may reach.
fn around(host: &Host, root: End<'_>) -> BTreeSet<(u64, u32)> {
    Segment::of(host, root, |_| true).members().map(key).collect()
}

/// Who may be the router of an address behind a device: addresses there of those who pass packets on.
pub fn routers(host: &Host, edge: &Device, address: IpAddr) -> Vec<IpAddr> {
    let around = around(host, (host.home(), edge));
    let forwarding = host.places.iter().filter(|place| place.forwards_for(address));
    let addresses = forwarding.flat_map(|place| place.addresses.iter().map(move |own| (place.cookie, own)));
    addresses
        .filter(|(cookie, own)| around.contains(&(*cookie, own.device)))
        .map(|(_, own)| own.net)
        .filter(|net| net.contains(&address) && net.addr() != address)
        .map(|net| net.addr())
        .collect()
}

/// The one on the network behind a device who has an address.
pub fn owner<'a>(host: &'a Host, edge: &'a Device, address: IpAddr) -> Option<&'a Place> {
    let around = around(host, (host.home(), edge));
    let is_there =
        |place: &&Place| place.devices.iter().any(|device| around.contains(&key((*place, device))));
    host.places.iter().filter(|place| place.has(address)).find(is_there)
}

/// By which others a packet that has come by a device may be passed on: those of the same VRF, if any.
fn beside<'a>(place: &'a Place, device: &'a Device) -> impl Iterator<Item = &'a Device> {
    place.devices.iter().filter(|other| other.port.is_none() && other.master == device.master)
}
