//! Devices that are down, or have nothing at their other end.

use crate::{
    doctor::{Cause, End, Found, Severity, Site, Stage, distinct, key, name},
    facts::{Host, Place},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "instance-device-down",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "The instance's own device is down",
        look: instance_down,
    },
    Cause {
        name: "port-down",
        severity: Severity::Error,
        stage: Stage::Link,
        title: "A device between an instance and its router is down",
        look: port_down,
    },
    Cause {
        name: "inside-down",
        severity: Severity::Error,
        stage: Stage::Link,
        title: "The router's device in a network of instances is down",
        look: inside_down,
    },
    Cause {
        name: "lower-device-down",
        severity: Severity::Error,
        stage: Stage::Link,
        title: "A device is down that a VLAN of the router or of an instance lies on",
        look: lower_down,
    },
    Cause {
        name: "uplink-down",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The device that leads out is down, and so has no route",
        look: uplink_down,
    },
    Cause {
        name: "uplink-end-down",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The other end of the pair that leads out is down",
        look: uplink_end_down,
    },
    Cause {
        name: "uplink-no-carrier",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "Nothing is connected to the device that leads out",
        look: uplink_without_carrier,
    },
    Cause {
        name: "macvlan-own-host",
        severity: Severity::Note,
        stage: Stage::Link,
        title: "An instance with a macvlan or ipvlan does not reach the host that this lies on",
        look: own_host,
    },
];

const SHOW: &str = "ip -d link show dev";

/// The device below a VLAN that is down, too: that takes the VLAN with it.
fn lower<'a>(host: &'a Host, (place, device): End<'a>) -> Option<End<'a>> {
    host.peer(place, device).filter(|(_, lower)| device.is("vlan") && !lower.up)
}

/// A device that is down and holds an address where a default route is missing: that went with it.
pub fn down_uplink(place: &Place, is_inside: impl Fn(u32) -> bool) -> Option<End<'_>> {
    let holds = |index| place.addresses.iter().any(|own| own.device == index && own.net.addr().is_ipv4());
    let mut devices = place.devices.iter().filter(|device| !device.up && device.is_ethernet());
    let device = devices.find(|device| holds(device.index) && !is_inside(device.index))?;
    Some((place, device))
}

fn down(end: End<'_>, what: &str) -> Found {
    let (place, device) = end;
    Found::new(place, &device.name, format!("{} is down: {what}", name(end)))
        .seen(format!("{SHOW} {}", device.name), "not UP")
        .mend(place, format!("ip link set {} up", device.name))
}

fn instance_down(site: &Site<'_>) -> Vec<Found> {
    let attached = site.attached.iter().filter(|attached| !attached.device.up);
    let own = attached.filter(|attached| lower(site.host, (attached.place, attached.device)).is_none());
    distinct(own.map(|attached| {
        let what = format!("the instance with {} neither sends nor hears", attached.net.addr());
        let found = down((attached.place, attached.device), &what);
        if attached.place.defaults().is_empty() {
            // The kernel has removed it, and does not bring it back.
            found.mend(attached.place, format!("ip route add default via {}", attached.gateway.addr()))
        } else {
            found
        }
    }))
}

/// Bridges have a cause of their own.
fn port_down(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().flat_map(|attached| {
        let between = attached.between().iter().filter(|(_, device)| !device.up && device.bridge.is_none());
        between.filter(|end| lower(site.host, **end).is_none()).map(|end| {
            let what = format!("frames of {} do not pass it to {}", attached.who(), name(attached.end()));
            down(*end, &what)
        })
    }))
}

fn inside_down(site: &Site<'_>) -> Vec<Found> {
    let attached = site.attached.iter().filter(|attached| !attached.inside.up);
    let own = attached.filter(|attached| lower(site.host, attached.end()).is_none());
    distinct(own.map(|attached| {
        let what = format!("nobody hears {}, the gateway of {}", attached.gateway.addr(), attached.who());
        down(attached.end(), &what)
    }))
}

fn lower_down(site: &Site<'_>) -> Vec<Found> {
    let mut vlans: Vec<End<'_>> = Vec::new();
    for router in &site.routers {
        let down = |index| router.insides.iter().any(|inside| inside.device.index == index);
        if router.uplinks.is_empty() {
            vlans.extend(down_uplink(router.place, down));
        }
    }
    vlans.extend(site.attached.iter().flat_map(|attached| attached.steps.iter().copied()));
    let found = vlans.into_iter().filter_map(|vlan| {
        let (place, device) = lower(site.host, vlan)?;
        let what = format!("the VLAN {}, which lies on it, is down with it", name(vlan));
        let found = down((place, device), &what);
        // Routes by it went, too, but which they were nobody knows any more.
        Some(found.mend(vlan.0, format!("ip link set {} up", vlan.1.name)))
    });
    distinct(found)
}

fn uplink_down(site: &Site<'_>) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| router.uplinks.is_empty() && router.place.forwards());
    let found = routers.filter_map(|router| {
        let is_inside = |index| router.insides.iter().any(|inside| inside.device.index == index);
        let end = down_uplink(router.place, is_inside)?;
        let (place, device) = end;
        if lower(site.host, end).is_some() {
            return None;
        }
        let addresses: Vec<_> = place.addresses_of(device).map(|own| own.net.to_string()).collect();
        Some(
            down(end, "routes by it are gone, and there is no other way out")
                .seen(format!("ip address show dev {}", device.name), addresses.join(", "))
                .seen("ip route show table all", "no route for 0.0.0.0/0")
                .mend(place, "ip route add default via GATEWAY"),
        )
    });
    found.collect()
}

/// The best way out, if it is up here and nothing comes of that.
fn dead_uplinks<'a>(site: &Site<'a>) -> impl Iterator<Item = (End<'a>, Option<End<'a>>)> {
    let best = site.routers.iter().filter_map(|router| Some((router.place, router.uplinks.first()?.device)));
    let dead = best.filter(|(_, device)| device.up && !device.carrier && device.is_ethernet());
    dead.map(|(place, device)| {
        let end = site.host.peer(place, device).filter(|(_, end)| device.is("veth") && !end.up);
        ((place, device), end)
    })
}

fn uplink_end_down(site: &Site<'_>) -> Vec<Found> {
    let found = dead_uplinks(site).filter_map(|(uplink, end)| {
        let what = format!("nothing leaves by {}, whose other end it is", name(uplink));
        Some(down(end?, &what).seen(format!("{SHOW} {}", uplink.1.name), "NO-CARRIER"))
    });
    found.collect()
}

fn uplink_without_carrier(site: &Site<'_>) -> Vec<Found> {
    let dead = dead_uplinks(site).filter(|(_, end)| end.is_none());
    let found = dead.map(|(uplink, _)| {
        let (place, device) = uplink;
        let sentence = format!(
            "nothing leaves by {}: it has no carrier, so no cable, switch or program is at its other end",
            name(uplink)
        );
        // No command puts a cable in; this one says whether there is one.
        Found::new(place, &device.name, sentence)
            .seen(format!("{SHOW} {}", device.name), "NO-CARRIER")
            .mend(place, format!("ethtool {}", device.name))
    });
    found.collect()
}

fn own_host(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for place in &site.host.places {
        let lying = place.devices.iter().filter(|device| device.is("macvlan") || device.is("ipvlan"));
        for device in lying {
            let Some(lower) = site.host.peer(place, device) else { continue };
            let (host, below) = lower;
            let Some(address) = host.addresses_of(below).find(|own| own.net.addr().is_ipv4()) else {
                continue;
            };
            if key(lower).0 == place.cookie {
                continue;
            }
            let sentence = format!(
                "{} does not reach {} of the host that it lies on by {}, nor the host it: the kernel \
                 keeps them apart",
                name((place, device)),
                address.net.addr(),
                below.name
            );
            let mend = format!(
                "ip link add link {} type {} name NAME",
                below.name,
                device.kind.as_deref().unwrap_or_default()
            );
            found.push(
                Found::new(place, &device.name, sentence)
                    .seen(format!("{SHOW} {}", device.name), format!("lies on {}", name(lower)))
                    .mend(host, mend),
            );
        }
    }
    found
}
