//! Instances whose host end is where their router is not.

use crate::doctor::{
    Attached, Cause, End, Found, Segment, Severity, Site, Stage, distinct, is_port_of, name,
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "port-in-no-bridge",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The host's end of an instance's pair is in no bridge, and its router is at one",
        look: in_none,
    },
    Cause {
        name: "port-in-wrong-bridge",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The host's end of an instance's pair is in a bridge where its router is not",
        look: in_another,
    },
];

/// The host's end of an instance's pair that no way leads from to its router, and the bridge beside it where that is.
fn astray<'a>(site: &'a Site<'a>) -> impl Iterator<Item = (&'a Attached<'a>, End<'a>, End<'a>)> {
    site.attached.iter().filter(|attached| attached.steps.is_empty()).filter_map(|attached| {
        let end = site.host.peer(attached.place, attached.device).filter(|_| attached.device.is("veth"))?;
        Some((attached, end, bridge_of(site, attached).filter(|bridge| bridge.0.cookie == end.0.cookie)?))
    })
}

/// The bridge that the router's device is, or is a port of by its other end.
fn bridge_of<'a>(site: &'a Site<'a>, attached: &Attached<'a>) -> Option<End<'a>> {
    let end = attached.end();
    if end.1.bridge.is_some() {
        return Some(end);
    }
    let port = site.host.peer(end.0, end.1).filter(|_| end.1.is("veth"))?;
    let bridge = (port.0, port.0.device(port.1.master?)?);
    is_port_of(port, bridge).then_some(bridge)
}

/// Nothing but a bridge could take frames from it: no address, route, program or device on it does.
fn is_idle((place, device): End<'_>) -> bool {
    let answers = |name| place.settings.larger(&device.name, name).is_none_or(|value| value != 0);
    let mut routed = place.routes.iter().filter(|route| route.destination.addr().is_ipv4());
    device.master.is_none()
        && !device.xdp
        && !answers("proxy_arp")
        && !place.addresses.iter().any(|own| own.device == device.index && own.net.addr().is_ipv4())
        && !routed.by_ref().flat_map(|route| &route.hops).any(|hop| hop.device == device.index)
        && !place.devices.iter().any(|other| other.peer == Some(device.index) && !other.is("veth"))
        && !place
            .queues
            .iter()
            .any(|queue| queue.device == device.index && matches!(&*queue.kind, "clsact" | "ingress"))
}

fn in_none(site: &Site<'_>) -> Vec<Found> {
    let idle = astray(site).filter(|(_, end, _)| is_idle(*end));
    distinct(idle.map(|(attached, (place, device), (_, bridge))| {
        let sentence = format!(
            "{} is in no bridge, so nothing of {} reaches its gateway {} at {}",
            name((place, device)),
            attached.who(),
            attached.gateway.addr(),
            bridge.name
        );
        Found::new(place, &device.name, sentence)
            .seen(format!("ip link show dev {}", device.name), "no master")
            .mend(place, format!("ip link set {} master {}", device.name, bridge.name))
    }))
}

fn in_another(site: &Site<'_>) -> Vec<Found> {
    let found = astray(site).filter_map(|(attached, end, (_, bridge))| {
        let (place, device) = end;
        let other = place.device(device.master?).filter(|other| other.bridge.is_some())?;
        // Behind a cable or a TAP there may be another router with this address.
        let segment = Segment::of(site.host, end, |_| true);
        if other.index == bridge.index || !segment.is_closed(site.host) {
            return None;
        }
        let sentence = format!(
            "{} is a port of {}, where nobody has the gateway {} of {}: that is at {}",
            name(end),
            other.name,
            attached.gateway.addr(),
            attached.who(),
            bridge.name
        );
        Some(
            Found::new(place, &device.name, sentence)
                .seen(format!("ip link show dev {}", device.name), format!("master {}", other.name))
                .mend(place, format!("ip link set {} master {}", device.name, bridge.name)),
        )
    });
    distinct(found)
}
