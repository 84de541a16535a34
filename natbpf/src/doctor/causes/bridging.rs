//! Bridges and their ports.

use super::crossing::{Crossing, crossings, is_on};
use crate::{
    doctor::{Attached, Cause, End, Found, Segment, Severity, Site, Stage, distinct, is_port_of, name},
    facts::{Device, Place, PortState},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "bridge-down",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "A bridge between an instance and its router is down",
        look: bridge_down,
    },
    Cause {
        name: "uplink-bridge-empty",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The bridge that the router's way out is a port of has no other port",
        look: uplink_bridge_empty,
    },
    Cause {
        name: "port-blocked",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "A bridge passes nothing through a port: the spanning tree, or somebody, has blocked it",
        look: |site| not_forwarding(site, &[PortState::Disabled, PortState::Blocking]),
    },
    Cause {
        name: "port-listening",
        severity: Severity::Warning,
        stage: Stage::Bridge,
        title: "A bridge does not pass anything through a port yet: the spanning tree looks for loops \
                first",
        look: |site| not_forwarding(site, &[PortState::Listening, PortState::Learning]),
    },
    Cause {
        name: "port-isolated-from-router",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The ports of an instance and of its router are both isolated, so the bridge keeps them \
                apart",
        look: isolated,
    },
    Cause {
        name: "instances-isolated",
        severity: Severity::Note,
        stage: Stage::Bridge,
        title: "Instances with isolated ports do not reach each other",
        look: isolated_instances,
    },
];

fn bridge_down(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().flat_map(|attached| {
        let bridges = attached.between().iter().filter(|(_, device)| device.bridge.is_some() && !device.up);
        bridges.map(|(place, device)| {
            let sentence = format!(
                "the bridge {} is down: frames of {} do not reach {}",
                name((place, device)),
                attached.who(),
                name(attached.end())
            );
            Found::new(place, &device.name, sentence)
                .seen(format!("ip -d link show dev {}", device.name), "not UP")
                .mend(place, format!("ip link set {} up", device.name))
        })
    }))
}

/// A bridge with an address may be the gateway itself.
fn uplink_bridge_empty(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let Some(uplink) = router.uplinks.first().filter(|uplink| uplink.device.is("veth")) else { continue };
        let Some((place, port)) = site.host.peer(router.place, uplink.device) else { continue };
        let master = port.master.and_then(|master| place.device(master));
        let Some(bridge) = master.filter(|master| master.bridge.is_some()) else { continue };
        let others = place.ports(bridge).any(|other| other.index != port.index);
        let is_base =
            place.devices.iter().any(|device| device.peer == Some(bridge.index) && !device.is("veth"));
        if others || is_base || place.addresses_of(bridge).any(|own| own.net.addr().is_ipv4()) {
            continue;
        }
        let sentence = format!(
            "nothing leaves by {}: {} is the only port of the bridge {}",
            name((router.place, uplink.device)),
            port.name,
            name((place, bridge))
        );
        found.push(
            Found::new(place, &bridge.name, sentence)
                .seen(format!("bridge link show master {}", bridge.name), &port.name)
                .mend(place, format!("ip link set DEVICE master {}", bridge.name)),
        );
    }
    found
}

fn not_forwarding(site: &Site<'_>, states: &[PortState]) -> Vec<Found> {
    let mut found = Vec::new();
    for attached in &site.attached {
        for pair in attached.steps.windows(2) {
            // Whichever of the two is the port.
            let Some((place, port, bridge)) = port_and_bridge(pair) else { continue };
            let Some(own) = port.port.as_ref().filter(|own| states.contains(&own.state)) else { continue };
            if !(port.up && port.carrier && bridge.up) {
                continue;
            }
            let state = own.state.name();
            let sentence = format!(
                "the bridge {} passes nothing of {} through its port {}: that is {state}",
                bridge.name,
                attached.who(),
                name((place, port))
            );
            let stp = bridge.bridge.as_ref().is_some_and(|bridge| bridge.stp);
            let mend = match (stp, own.state) {
                // Without the spanning tree, frames would go round in the loop that it has found.
                (true, PortState::Blocking) => format!("bridge link set dev {} cost 1 priority 0", port.name),
                // It passes them on by itself, after two times this.
                (true, PortState::Listening | PortState::Learning) => {
                    format!("ip link set {} type bridge forward_delay 200", bridge.name)
                }
                _ => format!("bridge link set dev {} state 3", port.name),
            };
            let found_port = Found::new(place, &port.name, sentence)
                .seen(format!("bridge -d link show dev {}", port.name), format!("state {state}"));
            found.push(
                if stp && own.state == PortState::Blocking {
                    let loops = format!("{} has a loop, and the way by other ports costs less", bridge.name);
                    found_port.seen(format!("ip -d link show dev {}", bridge.name), loops)
                } else {
                    found_port
                }
                .mend(place, mend),
            );
        }
    }
    distinct(found)
}

fn port_and_bridge<'a>(pair: &[End<'a>]) -> Option<(&'a Place, &'a Device, &'a Device)> {
    let &[one, other] = pair else { return None };
    if is_port_of(one, other) {
        Some((one.0, one.1, other.1))
    } else {
        is_port_of(other, one).then_some((one.0, other.1, one.1))
    }
}

fn isolated(site: &Site<'_>) -> Vec<Found> {
    let apart = |attached: &Attached<'_>| {
        let crossing = crossings(attached).find(Crossing::is_isolated)?;
        let (place, port) = crossing.from?;
        let to = crossing.to?;
        let sentence = format!(
            "the bridge {} sends nothing of {} to {}, where its router is: both ports are isolated",
            name((place, crossing.bridge)),
            attached.who(),
            to.1.name
        );
        let shown = |port: &str| (format!("bridge -d link show dev {port}"), "isolated on");
        let (own, other) = (shown(&port.name), shown(&to.1.name));
        Some(
            Found::new(place, &to.1.name, sentence)
                .seen(own.0, own.1)
                .seen(other.0, other.1)
                .mend(place, format!("bridge link set dev {} isolated off", to.1.name)),
        )
    };
    distinct(site.attached.iter().filter_map(apart))
}

fn isolated_instances(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            let segment = Segment::of(site.host, (router.place, inside.device), |_| true);
            for (place, bridge) in segment.members().filter(|(_, device)| device.bridge.is_some()) {
                let ports: Vec<_> = place
                    .ports(bridge)
                    .filter(|port| is_on(port, |port| port.isolated))
                    .map(|port| &*port.name)
                    .collect();
                if ports.len() < 2 {
                    continue;
                }
                let sentence = format!(
                    "what is at one of the isolated ports of the bridge {} does not reach what is at \
                     another",
                    name((place, bridge))
                );
                found.push(
                    Found::new(place, &bridge.name, sentence)
                        .seen("bridge -d link show", format!("isolated on: {}", ports.join(", ")))
                        .mend(place, format!("bridge link set dev {} isolated off", ports[0])),
                );
            }
        }
    }
    distinct(found)
}
