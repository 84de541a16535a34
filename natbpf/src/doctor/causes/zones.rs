//! Zones of conntrack.

use super::translation::both_ways;
use crate::{
    doctor::{Cause, Found, Severity, Site, Stage, distinct},
    facts::Verdict,
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "answers-in-other-zone",
    severity: Severity::Error,
    stage: Stage::Return,
    title: "A rule has answers looked for in another zone of conntrack than their flows are in",
    look,
}];

/// The commands that have a rule for packets of instances leave the answers where they are looked for.
fn for_originals(rule: &Verdict) -> Vec<String> {
    match &rule.chain {
        Some(chain) => {
            let text = rule.text.split(" # handle").next().unwrap_or_default();
            let text = text.replacen("ct zone set", "ct original zone set", 1);
            vec![format!("nft replace rule {chain} handle {} {text}", rule.handle())]
        }
        None => {
            let program = rule.source.name();
            let text =
                rule.text.replacen("--zone-reply ", "--zone ", 1).replacen("--zone ", "--zone-orig ", 1);
            vec![rule.deleted("raw"), format!("{program} -t raw {text}")]
        }
    }
}

fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let (place, firewall) = (router.place, &router.place.firewall);
        for (inside, uplink) in router.ways_by_kernel(site.host) {
            let Some([out, back]) = both_ways(place, inside, &uplink) else { continue };
            let (Some((sent, zone)), Some((answered, other))) = (firewall.zone(&out), firewall.zone(&back))
            else {
                continue;
            };
            let (zone, other) = (zone.of_answers(), other.of_answers());
            if zone == other || firewall.source(&out).is_none() {
                continue;
            }
            let Some(rule) = sent.as_ref().filter(|_| zone != 0).or(answered.as_ref()) else { continue };
            let sentence = format!(
                "answers to packets of {} are looked for in zone {other} of conntrack{} when they come by {}, \
                 and their flows are in zone {zone}, so they are not translated back: {}",
                inside.network(),
                place.within(),
                uplink.device.name,
                rule.text
            );
            let mut one = Found::of_rule(place, rule, sentence);
            for rule in answered.iter().filter(|_| other != 0) {
                one = one.mend(place, rule.deleted("raw"));
            }
            for command in sent.iter().filter(|_| zone != 0).flat_map(for_originals) {
                one = one.mend(place, command);
            }
            found.push(one);
        }
    }
    distinct(found)
}
