//! Rules of two systems, of which each is asked.

use super::filter::outward_drop;
use crate::doctor::way::OUTSIDE;
use crate::{
    doctor::{Cause, Found, Severity, Site, Stage, distinct},
    facts::Packet,
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "legacy-beside-nf-tables",
    severity: Severity::Warning,
    stage: Stage::Filter,
    title: "iptables-legacy and nf_tables both decide about what instances send",
    look,
}];

/// Only where each of the two translates, or drops what it does not accept. What is dropped already is another cause.
fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        for (inside, uplink) in router.ways_out() {
            let packet =
                Packet::forwarded(&inside.device.name, &uplink.device.name, inside.example(), OUTSIDE[0]);
            let Some([legacy, other]) = place.firewall.decided_twice(&packet) else { continue };
            if outward_drop(router, inside, &uplink).is_some() {
                continue;
            }
            let sentence = format!(
                "packets of {}{} have to pass rules of iptables-legacy and of {}, neither of which shows the \
                 other's: what is accepted by the one, the other may drop: {} and {}",
                inside.network(),
                place.within(),
                other.source.name(),
                legacy.text,
                other.text
            );
            found.push(
                Found::of_rule(place, &legacy, sentence)
                    .seen_rule(&other)
                    .mend_by_shell(place, "sh -c 'iptables-legacy-save | iptables-nft-restore --noflush'")
                    // Without its rules, a policy of DROP would cut off whoever types this from afar.
                    .mend_all(
                        place,
                        &["-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT", "-F", "-t nat -F"]
                            .map(|words| format!("iptables-legacy {words}")),
                    ),
            );
        }
    }
    distinct(found)
}
