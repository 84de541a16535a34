//! Rules that drop what is to pass.

use crate::{
    doctor::{
        Cause, Found, Inside, Router, Severity, Site, Stage, Uplink,
        way::{answers, drops_all, packets},
    },
    facts::{For, Hook, Source, Verdict},
};

/// What a packet meets that is passed on.
const PASSED: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "forward-dropped",
        severity: Severity::Error,
        stage: Stage::Filter,
        title: "A rule, or the policy of FORWARD, drops what instances send out",
        look: dropped,
    },
    Cause {
        name: "forward-dropped-by-nft",
        severity: Severity::Error,
        stage: Stage::Filter,
        title: "A chain of nftables drops what instances send out, whatever iptables accepts",
        look: dropped_by_nft,
    },
    Cause {
        name: "answers-dropped",
        severity: Severity::Error,
        stage: Stage::Return,
        title: "What instances send out may pass, and the answers may not",
        look: answers_dropped,
    },
    Cause {
        name: "icmp-dropped",
        severity: Severity::Warning,
        stage: Stage::Filter,
        title: "A rule drops ICMP of instances, and nothing else: no ping, and perhaps no path MTU discovery",
        look: icmp_dropped,
    },
];

/// What drops all that a network sends out.
pub fn outward_drop(router: &Router<'_>, inside: &Inside<'_>, uplink: &Uplink<'_>) -> Option<Verdict> {
    let packets = packets(&inside.device.name, &uplink.device.name, inside.example());
    drops_all(router.place, &PASSED, packets)
}

/// The drops of all networks by programs of this kind.
fn drops<'a>(
    site: &'a Site<'a>,
    by_nft: bool,
) -> impl Iterator<Item = (&'a Router<'a>, &'a Inside<'a>, Uplink<'a>, Verdict)> {
    site.routers.iter().flat_map(move |router| {
        router.ways_out().filter_map(move |(inside, uplink)| {
            let drop = outward_drop(router, inside, &uplink)?;
            ((drop.source == Source::Nftables) == by_nft).then_some((router, inside, uplink, drop))
        })
    })
}

fn dropped(site: &Site<'_>) -> Vec<Found> {
    let found = drops(site, false).map(|(router, inside, uplink, drop)| {
        // Docker sets the policy, and accepts what is its own.
        let by_docker =
            drop.text.starts_with(':') && router.place.firewall.lines(":DOCKER-USER ").next().is_some();
        let who = if by_docker { "the policy, which Docker has set" } else { "a rule" };
        let sentence = format!(
            "packets of {} to the outside are dropped{} by {who} of {}: {}",
            inside.network(),
            router.place.within(),
            drop.source.name(),
            drop.text
        );
        let chain = if by_docker { "DOCKER-USER" } else { "FORWARD" };
        let command = drop.accepting(chain, &[For::From(inside.network()), For::Output(&uplink.device.name)]);
        Found::of_rule(router.place, &drop, sentence).mend(router.place, command)
    });
    found.collect()
}

fn dropped_by_nft(site: &Site<'_>) -> Vec<Found> {
    let found = drops(site, true).map(|(router, inside, uplink, drop)| {
        let sentence = format!(
            "packets of {} to the outside are dropped{} by nftables, which is asked besides iptables: {}",
            inside.network(),
            router.place.within(),
            drop.text
        );
        let command =
            drop.accepting("FORWARD", &[For::From(inside.network()), For::Output(&uplink.device.name)]);
        Found::of_rule(router.place, &drop, sentence).mend(router.place, command)
    });
    found.collect()
}

fn answers_dropped(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for (inside, uplink) in router.ways_out() {
            let (device, out) = (&inside.device.name, &uplink.device.name);
            let Some(drop) = drops_all(router.place, &PASSED, answers(out, device, inside.example())) else {
                continue;
            };
            if outward_drop(router, inside, &uplink).is_some() {
                continue;
            }
            let sentence = format!(
                "answers to packets of {} are dropped{} on their way from {out} to {device} by a rule of {}: {}",
                inside.network(),
                router.place.within(),
                drop.source.name(),
                drop.text
            );
            let accept = drop.accepting("FORWARD", &[For::Input(out), For::Output(device), For::Answers]);
            found.push(Found::of_rule(router.place, &drop, sentence).mend(router.place, accept));
        }
    }
    found
}

fn icmp_dropped(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for (inside, uplink) in router.ways_out() {
            let (place, device, out) = (router.place, &inside.device.name, &uplink.device.name);
            let icmp = packets(device, out, inside.example()).filter(|packet| packet.protocol == 1);
            let Some(drop) = drops_all(place, &PASSED, icmp).filter(|drop| drop.text.contains("icmp")) else {
                continue;
            };
            if outward_drop(router, inside, &uplink).is_some() {
                continue;
            }
            // Errors about flows that are known may be accepted before.
            let related =
                ["RELATED", "related"].iter().any(|state| place.firewall.lines(state).next().is_some());
            let fails = if related { "ping fails" } else { "ping and path MTU discovery fail" };
            let sentence = format!(
                "ICMP of {} is dropped{} by a rule of {}, and nothing else: {fails}: {}",
                inside.network(),
                place.within(),
                drop.source.name(),
                drop.text
            );
            let accept = drop.accepting("FORWARD", &[For::From(inside.network()), For::Icmp]);
            found.push(Found::of_rule(place, &drop, sentence).mend(place, accept));
        }
    }
    found
}
