//! Which networks a flow passes. Others on the host may have the same addresses, and ask for them at the same time.

use std::collections::BTreeSet;

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
            own.extend(Segment::of(host, root, |_| true).members().map(key));
        }
    }
    trace.questions.retain(|sight| own.contains(&(sight.namespace, sight.device)));
}

/// By which others a packet that has come by a device may be passed on: those of the same VRF, if any.
fn beside<'a>(place: &'a Place, device: &'a Device) -> impl Iterator<Item = &'a Device> {
    place.devices.iter().filter(|other| other.port.is_none() && other.master == device.master)
}
