//! Whether there is a way.

use super::links::down_uplink;
use crate::doctor::{Cause, Found, Severity, Site, Stage};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "no-default-route",
        severity: Severity::Error,
        stage: Stage::Routing,
        title: "The router of a network has no default route",
        look: no_default,
    },
    Cause {
        name: "instance-no-default-route",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance has no default route",
        look: instance_without_default,
    },
];

fn no_default(site: &Site<'_>) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| {
        // A network that is meant to lead nowhere has no router that passes packets on.
        let is_inside = |index| router.insides.iter().any(|inside| inside.device.index == index);
        // A device that is down has taken its routes with it.
        router.uplinks.is_empty() && router.place.forwards() && down_uplink(router.place, is_inside).is_none()
    });
    routers
        .map(|router| {
            let networks: Vec<_> = router.insides.iter().map(|inside| inside.network().to_string()).collect();
            let sentence = format!(
                "packets of {} are not led out: there is no default route{}",
                networks.join(", "),
                router.place.within()
            );
            Found::new(router.place, "default", sentence)
                .seen("ip route show table all", "no route for 0.0.0.0/0")
                .mend(router.place, "ip route add default via GATEWAY")
        })
        .collect()
}

fn instance_without_default(site: &Site<'_>) -> Vec<Found> {
    let instances = site.instances().filter(|(.., place, device)| device.up && place.defaults().is_empty());
    instances
        .map(|(_, inside, place, device)| {
            let sentence = format!(
                "the instance {} has no default route, so it reaches its own network {} alone",
                place.name,
                inside.network()
            );
            Found::new(place, &device.name, sentence)
                .seen("ip route show table all", "no route for 0.0.0.0/0")
                .mend(place, format!("ip route add default via {}", inside.net.addr()))
        })
        .collect()
}
