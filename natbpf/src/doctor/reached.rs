//! Who is at a device of a router, by pairs and bridges.

use std::collections::BTreeSet;

use super::segment::key;
use crate::facts::{Device, Host, Place};

/// What a frame of a device can reach.
#[derive(Debug, Default)]
pub struct Reached<'a> {
    /// Devices with the network stacks of other namespaces behind them.
    pub ends: Vec<(&'a Place, &'a Device)>,
    /// Machines or containers are there, as their kind of device says.
    pub guests: bool,
    /// Somebody else may be their router: a cable or a tunnel leads out, or a namespace passes packets on.
    pub open: bool,
}

impl<'a> Reached<'a> {
    /// Follows pairs and bridges from a device, wherever they lead.
    pub fn of(host: &'a Host, place: &'a Place, device: &'a Device) -> Self {
        let mut reached = Self::default();
        let mut seen = BTreeSet::from([key((place, device))]);
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
            near.retain(|near| seen.insert(key(*near)));
            for (place, device) in near {
                if device.is("tun") {
                    reached.guests = true;
                } else if device.is("veth")
                    && device.master.is_none()
                    && place.addresses_of(device).next().is_some()
                {
                    reached.open |= place.forwards() && !place.defaults().is_empty();
                    reached.ends.push((place, device));
                } else {
                    let known = device.bridge.is_some() || device.is("veth") || device.is("dummy");
                    reached.open |= !known;
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
}
