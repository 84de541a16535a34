//! What frames of a device can reach: pairs, bridges and VLANs, wherever they lead.

use std::collections::BTreeSet;

use crate::facts::{Device, Host, Place};

/// A device in its namespace.
pub type End<'a> = (&'a Place, &'a Device);

/// All that is reached from a device, as a tree with that as its root.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Each with the one that it was reached from.
    members: Vec<(End<'a>, Option<usize>)>,
}

impl<'a> Segment<'a> {
    /// Only devices that `passes` takes are gone through.
    pub fn of(host: &'a Host, root: End<'a>, passes: impl Fn(&Device) -> bool) -> Self {
        let mut members = vec![(root, None)];
        let mut seen = BTreeSet::from([key(root)]);
        let mut turn = 0;
        while let Some(&(end, _)) = members.get(turn) {
            if passes(end.1) {
                let near =
                    near(host, end).into_iter().filter(|near| passes(near.1) && seen.insert(key(*near)));
                members.extend(near.map(|near| (near, Some(turn))));
            }
            turn += 1;
        }
        Self { members }
    }

    pub fn members(&self) -> impl Iterator<Item = End<'a>> {
        self.members.iter().map(|(end, _)| *end)
    }

    /// The devices from one to the root, both included.
    pub fn way_from(&self, end: End<'_>) -> Option<Vec<End<'a>>> {
        let mut turn = Some(self.members.iter().position(|(member, _)| key(*member) == key(end))?);
        let mut way = Vec::new();
        while let Some((end, before)) = turn.map(|turn| self.members[turn]) {
            way.push(end);
            turn = before;
        }
        Some(way)
    }

    /// Whether everything in it was seen. No cable leads out of it, and no machine is at a TAP.
    pub fn is_closed(&self, host: &Host) -> bool {
        self.members().all(|(place, device)| {
            let bridged = device
                .master
                .is_none_or(|master| place.device(master).is_some_and(|master| master.bridge.is_some()));
            let known = device.bridge.is_some()
                || (device.is("veth") || device.is("vlan")) && host.peer(place, device).is_some();
            bridged && known
        })
    }
}

/// What tells a device from all others.
pub const fn key(end: End<'_>) -> (u64, u32) {
    (end.0.cookie, end.1.index)
}

/// `eth0 in vm1`
pub fn name(end: End<'_>) -> String {
    format!("{}{}", end.1.name, end.0.within())
}

/// Whether one lies on the other as a VLAN.
pub fn lies_on(vlan: End<'_>, lower: End<'_>) -> bool {
    vlan.1.is("vlan")
        && vlan.0.cookie == lower.0.cookie
        && vlan.1.leads_to.is_none()
        && vlan.1.peer == Some(lower.1.index)
}

/// Whether one is a port of the other.
pub fn is_port_of(port: End<'_>, bridge: End<'_>) -> bool {
    bridge.1.bridge.is_some() && port.0.cookie == bridge.0.cookie && port.1.master == Some(bridge.1.index)
}

fn near<'a>(host: &'a Host, end: End<'a>) -> Vec<End<'a>> {
    let (place, device) = end;
    let here = |device: &'a Device| (place, device);
    let mut near: Vec<End<'_>> =
        place.devices.iter().map(here).filter(|other| lies_on(*other, end)).collect();
    if device.bridge.is_some() {
        near.extend(place.ports(device).map(here));
    }
    let master = device.master.and_then(|master| place.device(master));
    near.extend(master.filter(|master| master.bridge.is_some()).map(here));
    if device.is("veth") || device.is("vlan") {
        near.extend(host.peer(place, device));
    }
    near
}
