//! Rules that drop what is to pass.

use std::net::Ipv4Addr;

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage},
    facts::packet,
};

/// An address outside, of nobody (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub const CAUSES: &[Cause] = &[Cause {
    name: "forward-dropped",
    severity: Severity::Error,
    stage: Stage::Filter,
    title: "A rule, or the policy of FORWARD, drops what instances send out",
    look: dropped,
}];

fn dropped(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let Some(uplink) = router.uplinks.first() else { continue };
        for inside in &router.insides {
            let packet = packet(&inside.device.name, &uplink.device.name, inside.example(), OUTSIDE);
            let Some(drop) = router.place.firewall.drops(&packet) else { continue };
            let sentence = format!(
                "packets of {} to the outside are dropped{} by a rule of {}: {}",
                inside.network(),
                router.place.within(),
                drop.source.name(),
                drop.text
            );
            let accept =
                format!("iptables -I FORWARD -s {} -o {} -j ACCEPT", inside.network(), uplink.device.name);
            found.push(
                Found::new(router.place, &drop.text, sentence)
                    .seen(format!("rules of {}", drop.source.name()), &drop.text)
                    .mend(router.place, accept),
            );
        }
    }
    found
}
