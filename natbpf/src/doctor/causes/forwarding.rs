//! Whether the kernel passes packets on.

use crate::doctor::{Cause, Found, Severity, Site, Stage};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "forwarding-off",
        severity: Severity::Error,
        stage: Stage::Forwarding,
        title: "The kernel passes no packets on (`net.ipv4.ip_forward`)",
        look: off,
    },
    Cause {
        name: "forwarding-off-device",
        severity: Severity::Error,
        stage: Stage::Forwarding,
        title: "The kernel passes no packets on that come by one device (`net.ipv4.conf.DEVICE.forwarding`)",
        look: off_by_device,
    },
    Cause {
        name: "rp-filter-strict",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "Answers come by another device than the route back leads to, and `rp_filter` is strict",
        look: reverse_path,
    },
];

fn off(site: &Site<'_>) -> Vec<Found> {
    let routers = site.routers.iter().filter(|router| {
        let settings = &router.place.settings;
        // All devices may be on while this says off, as after a change of one after the other.
        settings.number("ipv4/ip_forward") == Some(0)
            && router.insides.iter().any(|inside| settings.of(&inside.device.name, "forwarding") == Some(0))
    });
    routers
        .map(|router| {
            let networks: Vec<_> = router.insides.iter().map(|inside| inside.network().to_string()).collect();
            let sentence = format!(
                "the kernel{} drops what it should pass on: forwarding is off, and instances in {} have to go \
                 through it",
                router.place.within(),
                networks.join(", ")
            );
            Found::new(router.place, "net.ipv4.ip_forward", sentence)
                .seen("/proc/sys/net/ipv4/ip_forward", 0)
                .mend(router.place, "sysctl -w net.ipv4.ip_forward=1")
        })
        .collect()
}

fn off_by_device(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let (place, settings) = (router.place, &router.place.settings);
        let insides = router.insides.iter().map(|inside| inside.device);
        for device in insides.chain(router.uplinks.iter().map(|uplink| uplink.device)) {
            if settings.of(&device.name, "forwarding") == Some(0) {
                let name = &device.name;
                let path = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
                let sentence = format!("the kernel{} does not pass on what comes by {name}", place.within());
                let mend = format!("sysctl -w net/ipv4/conf/{name}/forwarding=1");
                found.push(Found::new(place, name, sentence).seen(path, 0).mend(place, mend));
            }
        }
    }
    found
}

/// Strict is 1, loose 2 (RFC 3704); the larger of the device's and that of all counts.
fn reverse_path(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let (place, settings) = (router.place, &router.place.settings);
        let Some(best) = router.uplinks.first() else { continue };
        // Answers from anywhere may come by each of them, but the way back is that of the best route alone.
        for uplink in router.uplinks.iter().skip(1).filter(|uplink| uplink.device.index != best.device.index)
        {
            let name = &uplink.device.name;
            if settings.larger(name, "rp_filter") == Some(1) {
                let sentence = format!(
                    "what comes by {name}{} is dropped where the route back leads to {}: rp_filter is strict",
                    place.within(),
                    best.device.name
                );
                found.push(
                    Found::new(place, name, sentence)
                        .seen(
                            "net.ipv4.conf.all.rp_filter",
                            settings.of("all", "rp_filter").unwrap_or_default(),
                        )
                        .seen(
                            format!("net.ipv4.conf.{name}.rp_filter"),
                            settings.of(name, "rp_filter").unwrap_or_default(),
                        )
                        .mend(place, format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2")),
                );
            }
        }
    }
    found
}
