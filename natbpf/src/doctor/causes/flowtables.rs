//! Flowtables, by which packets pass no rule of FORWARD.

use crate::{
    doctor::{
        Cause, Found, Severity, Site, Stage, distinct,
        way::{answers, packets},
    },
    facts::{Hook, Verdict},
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "flowtable-passes-rules",
    severity: Severity::Note,
    stage: Stage::Filter,
    title: "A flowtable takes flows past a rule of FORWARD that limits or counts what instances send",
    look,
}];

/// What has to see every packet, in rules of iptables and of nft.
const COUNTING: [&str; 7] =
    ["-m limit ", "-m hashlimit ", "-m quota ", "-m connbytes ", "limit rate ", "quota ", "ct bytes "];
/// Of rules that write to a log, a limit is for the log.
const LOGGING: [&str; 3] = ["-j LOG", "-j NFLOG", " log "];

fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let (place, flowtables) = (router.place, router.place.firewall.flowtables());
        for (inside, uplink) in router.ways_out().filter(|_| !flowtables.is_empty()) {
            let (device, out) = (&inside.device.name, &uplink.device.name);
            let ways = packets(device, out, inside.example()).chain(answers(out, device, inside.example()));
            // Flows of TCP and UDP alone are entered.
            let rules: Vec<Verdict> = ways
                .filter(|packet| packet.protocol != 1)
                .flat_map(|packet| place.firewall.asked(Hook::Forward, &packet))
                .collect();
            for table in
                flowtables.iter().filter(|table| [device, out].iter().all(|of| table.devices.contains(of)))
            {
                let fills = |rule: &&Verdict| rule.chain.is_some() && table.is_filled_by(&rule.text);
                let has = |rule: &Verdict, parts: &[&str]| parts.iter().any(|part| rule.text.contains(part));
                let counts = |rule: &&Verdict| has(rule, &COUNTING) && !has(rule, &LOGGING);
                let (Some(filling), Some(counting)) = (rules.iter().find(fills), rules.iter().find(counts))
                else {
                    continue;
                };
                let sentence = format!(
                    "the flowtable {} takes flows of {} past FORWARD{} after their first packets, so that this \
                     rule does not see the others: {}",
                    table.name,
                    inside.network(),
                    place.within(),
                    counting.text
                );
                found.push(
                    Found::of_rule(place, counting, sentence)
                        .seen_rule(filling)
                        .seen(format!("nft list flowtable {}", table.name), table.devices.join(", "))
                        .mend(place, filling.deleted("filter")),
                );
            }
        }
    }
    distinct(found)
}
