//! Whether flows are tracked, without which nothing is translated.

use crate::{
    doctor::{Cause, Found, Router, Severity, Site, Stage},
    facts::{Place, Verdict},
};

use super::translation::both_ways;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "conntrack-full",
        severity: Severity::Error,
        stage: Stage::Conntrack,
        title: "The table of flows is full, and packets of new ones are dropped",
        look: full,
    },
    Cause {
        name: "conntrack-nearly-full",
        severity: Severity::Warning,
        stage: Stage::Conntrack,
        title: "More than 90 % of the table of flows are taken",
        look: nearly_full,
    },
    Cause {
        name: "untracked",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "A rule of NOTRACK keeps what a network sends from being translated",
        look: untracked,
    },
    Cause {
        name: "answers-untracked",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "A rule of NOTRACK keeps the answers from being translated back",
        look: answers_untracked,
    },
];

/// Flows that there are, and for how many there is room.
fn fill(place: &Place) -> Option<(u64, u64)> {
    let number = |name| place.settings.number(&format!("netfilter/{name}"));
    // 0: there is no limit.
    Some((number("nf_conntrack_count")?, number("nf_conntrack_max").filter(|limit| *limit > 0)?))
}

fn table(router: &Router<'_>, (count, limit): (u64, u64), what: &str) -> Found {
    let place = router.place;
    let sentence =
        format!("{count} of {limit} flows are in the table of conntrack{}: {what}", place.within());
    Found::new(place, "net.netfilter.nf_conntrack_max", sentence)
        .seen("/proc/sys/net/netfilter/nf_conntrack_count", count)
        .seen("/proc/sys/net/netfilter/nf_conntrack_max", limit)
        // No namespace but the first may set it.
        .global(format!("sysctl -w net.netfilter.nf_conntrack_max={}", 2 * limit))
}

fn drops(place: &Place) -> u64 {
    place.settings.counter("conntrack.drop").unwrap_or_default()
}

fn full(site: &Site<'_>) -> Vec<Found> {
    let found = site.routers.iter().filter_map(|router| {
        let (count, limit) = fill(router.place).filter(|(count, limit)| count >= limit)?;
        let dropped = Some(drops(router.place)).filter(|drops| *drops > 0)?;
        let found = table(router, (count, limit), "packets of new ones are dropped");
        Some(found.seen("/proc/net/stat/nf_conntrack", format!("drop {dropped}")))
    });
    found.collect()
}

fn nearly_full(site: &Site<'_>) -> Vec<Found> {
    let found = site.routers.iter().filter_map(|router| {
        let (count, limit) = fill(router.place).filter(|(count, limit)| count * 10 >= limit * 9)?;
        let is_full = count >= limit && drops(router.place) > 0;
        (!is_full).then(|| table(router, (count, limit), "soon there will be no room for new ones"))
    });
    found.collect()
}

/// Networks with the rules by which what they send, and the answers, are not tracked.
fn rules<'a>(site: &Site<'a>) -> Vec<(&'a Place, String, Option<Verdict>, Option<Verdict>)> {
    let mut rules = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        for (inside, uplink) in router.ways_by_kernel(site.host) {
            // What is routed with its own address needs no tracking.
            let place = router.place;
            let Some([out, back]) =
                both_ways(place, inside, &uplink).filter(|_| inside.net.addr().is_private())
            else {
                continue;
            };
            let [out, back] = [out, back].map(|packet| place.firewall.untracks(&packet));
            rules.push((place, inside.network().to_string(), out, back));
        }
    }
    rules
}

fn by_rule(place: &Place, rule: &Verdict, sentence: String) -> Found {
    Found::of_rule(place, rule, sentence).mend(place, rule.deleted("raw"))
}

fn untracked(site: &Site<'_>) -> Vec<Found> {
    let found = rules(site).into_iter().filter_map(|(place, network, out, _)| {
        let rule = out?;
        let sentence = format!(
            "packets of {network} are not tracked{}, and so not translated: {}",
            place.within(),
            rule.text
        );
        Some(by_rule(place, &rule, sentence))
    });
    found.collect()
}

fn answers_untracked(site: &Site<'_>) -> Vec<Found> {
    let found = rules(site).into_iter().filter_map(|(place, network, out, back)| {
        let rule = back.filter(|back| out.as_ref() != Some(back))?;
        let sentence = format!(
            "answers to packets of {network} are not tracked{}, and so not translated back: {}",
            place.within(),
            rule.text
        );
        Some(by_rule(place, &rule, sentence))
    });
    found.collect()
}
