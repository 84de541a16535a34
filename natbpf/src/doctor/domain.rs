//! Who hears a broadcast: the devices that frames of one device get to by bridges and veth pairs, wherever they are.

use std::collections::BTreeSet;

use crate::facts::{Device, Host, Place};

/// A broadcast domain, as far as it is seen.
#[derive(Debug)]
pub struct Domain<'a> {
    /// Every device of it.
    pub devices: Vec<(&'a Place, &'a Device)>,
    /// Those of them with a network stack behind them.
    pub ends: Vec<(&'a Place, &'a Device)>,
    /// All of it is seen: no machine, cable or tunnel is part of it.
    pub closed: bool,
}

impl<'a> Domain<'a> {
    /// That of a device.
    pub fn of(host: &'a Host, place: &'a Place, device: &'a Device) -> Self {
        let mut domain = Self { devices: Vec::new(), ends: Vec::new(), closed: true };
        let above = above(host);
        let mut seen = BTreeSet::new();
        let mut next = vec![(place, device)];
        while let Some((place, device)) = next.pop() {
            if seen.insert((place.cookie, device.index)) {
                domain.devices.push((place, device));
                domain.closed &= !above.contains(&(place.cookie, device.index));
                next.extend(domain.visit(host, place, device));
            }
        }
        domain
    }

    /// What is next to a device.
    fn visit(
        &mut self,
        host: &'a Host,
        place: &'a Place,
        device: &'a Device,
    ) -> Vec<(&'a Place, &'a Device)> {
        let mut near = Vec::new();
        if device.bridge.is_some() {
            near.extend(place.ports(device).map(|port| (place, port)));
            self.ends.push((place, device));
            return near;
        }
        match device.master.and_then(|master| place.device(master)) {
            Some(bridge) if bridge.bridge.is_some() => near.push((place, bridge)),
            Some(_) => self.closed = false,
            None => self.ends.push((place, device)),
        }
        match host.peer(place, device).filter(|_| device.is("veth")) {
            Some(peer) => near.push(peer),
            None => self.closed = false,
        }
        near
    }

    /// Namespaces on it, each once.
    pub fn places(&self) -> Vec<&'a Place> {
        let mut places: Vec<&Place> = self.ends.iter().map(|(place, _)| *place).collect();
        places.sort_by_key(|place| place.cookie);
        places.dedup_by_key(|place| place.cookie);
        places
    }
}

/// Devices that others lie on, such as VLANs and macvlans, wherever: these may send by them, too.
fn above(host: &Host) -> BTreeSet<(u64, u32)> {
    let below = host.places.iter().flat_map(|place| {
        let others = place.devices.iter().filter(|device| !device.is("veth"));
        others.filter_map(move |device| host.peer(place, device))
    });
    below.map(|(place, device)| (place.cookie, device.index)).collect()
}
