//! Whether the outside can answer.

use std::net::Ipv4Addr;

use crate::{
    doctor::{Cause, Found, Inside, Router, Severity, Site, Stage, Uplink},
    facts::{Natbpf, packet},
    import::model::Fate,
};

/// An address outside, of nobody (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub const CAUSES: &[Cause] = &[Cause {
    name: "not-translated",
    severity: Severity::Error,
    stage: Stage::Translation,
    title: "A private network is routed out, and nothing translates its addresses",
    look: untranslated,
}];

/// A network whose packets leave as they are, though nobody outside knows the way back.
fn leaves_untranslated(router: &Router<'_>, inside: &Inside<'_>, uplink: &Uplink<'_>) -> bool {
    let packet = packet(&inside.device.name, &uplink.device.name, inside.example(), OUTSIDE);
    let fate = router.place.firewall.translation(&packet);
    let is_private = inside.net.addr().is_private();
    is_private && !matches!(fate, Some(Fate::Source { .. } | Fate::Other))
}

fn untranslated(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let Some(uplink) = router.uplinks.first() else { continue };
        let by_us = |own: &Natbpf| own.translates_at(router.place.cookie, uplink.device.index);
        if !router.place.firewall.is_complete() || site.host.natbpf.iter().any(by_us) {
            continue;
        }
        for inside in router.insides.iter().filter(|inside| leaves_untranslated(router, inside, uplink)) {
            let (network, out) = (inside.network(), &uplink.device.name);
            let sentence = format!(
                "packets of {network} leave by {out}{} with their private addresses, and no answer finds back: no rule \
                 masquerades them",
                router.place.within()
            );
            found.push(
                Found::new(router.place, network.to_string(), sentence)
                    .seen("rules of POSTROUTING", format!("none matches {} to {out}", inside.example()))
                    .mend(
                        router.place,
                        format!("iptables -t nat -A POSTROUTING -s {network} -o {out} -j MASQUERADE"),
                    ),
            );
        }
    }
    found
}
