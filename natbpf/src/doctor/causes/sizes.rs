//! Packets that are too large for a device on their way, where nobody says so to who has sent them.

use crate::{
    doctor::{Attached, Cause, End, Found, Severity, Site, Stage, distinct, name},
    facts::{For, Source, Verdict},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "mtu-smaller-on-the-way",
        severity: Severity::Error,
        stage: Stage::Link,
        title: "A device between an instance and its router has a smaller MTU than the instance",
        look: towards_router,
    },
    Cause {
        name: "mtu-smaller-towards-instance",
        severity: Severity::Warning,
        stage: Stage::Return,
        title: "A device between a router and its instance, or the instance's own, has a smaller MTU \
                than the router's",
        look: towards_instance,
    },
    Cause {
        name: "uplink-mtu-larger",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The other end of the pair that leads out has a smaller MTU",
        look: uplink,
    },
    Cause {
        name: "fragmentation-needed-dropped",
        severity: Severity::Error,
        stage: Stage::Uplink,
        title: "The MTU outside is smaller than that of instances, and a rule drops the ICMP errors \
                that say so",
        look: untold,
    },
];

/// The kernel lets frames pass by this much, for the tag of a VLAN (`is_skb_forwardable`).
const TAG: u32 = 4;

/// What drops frames of a size: pairs as they take them, bridges as they send them to a port. A bridge itself does not.
fn smaller<'a>(steps: &[End<'a>], mtu: u32) -> Option<End<'a>> {
    let judges = |end: &&End<'_>| end.1.is("veth") || end.1.master.is_some();
    steps.iter().filter(judges).find(|(_, device)| device.mtu + TAG < mtu).copied()
}

fn shown((_, device): End<'_>) -> String {
    format!("ip link show dev {}", device.name)
}

fn towards_router(site: &Site<'_>) -> Vec<Found> {
    distinct(site.attached.iter().filter_map(|attached| {
        let own = (attached.place, attached.device);
        let end = smaller(attached.steps.get(1..)?, own.1.mtu)?;
        let (mtu, own_mtu) = (end.1.mtu, own.1.mtu);
        let sentence = format!(
            "{} drops what {} sends of more than {mtu} bytes, and says nothing: the instance's MTU is \
             {own_mtu}",
            name(end),
            name(own)
        );
        Some(
            Found::new(end.0, &end.1.name, sentence)
                .seen(shown(end), format!("mtu {mtu}"))
                .seen(format!("{}{}", shown(own), own.0.within()), format!("mtu {own_mtu}"))
                .mend(end.0, format!("ip link set {} mtu {own_mtu}", end.1.name)),
        )
    }))
}

fn towards_instance(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for attached in site.attached.iter().filter(|attached| !attached.steps.is_empty()) {
        let mut back = attached.steps.clone();
        back.reverse();
        let (end, own) = (attached.end(), attached.device.mtu);
        let Some(small) = back.get(1..).and_then(|steps| smaller(steps, end.1.mtu)) else { continue };
        // What is too small for the instance, too, is told of above.
        if small.1.mtu + TAG < own {
            continue;
        }
        let (mtu, router) = (small.1.mtu, end.1.mtu);
        let sentence = format!(
            "{} drops what {} sends to {} of more than {mtu} bytes, and says nothing: the router's MTU \
             is {router}",
            name(small),
            name(end),
            attached.who()
        );
        found.push(
            Found::new(small.0, &small.1.name, sentence)
                .seen(shown(small), format!("mtu {mtu}"))
                .seen(format!("{}{}", shown(end), end.0.within()), format!("mtu {router}"))
                .mend(small.0, format!("ip link set {} mtu {router}", small.1.name)),
        );
    }
    distinct(found)
}

fn uplink(site: &Site<'_>) -> Vec<Found> {
    let found = site.routers.iter().filter_map(|router| {
        let own = (router.place, router.uplinks.first()?.device);
        let end = site.host.peer(own.0, own.1).filter(|_| own.1.is("veth"))?;
        let (mtu, own_mtu) = (end.1.mtu, own.1.mtu);
        if mtu + TAG >= own_mtu {
            return None;
        }
        let sentence = format!(
            "{}, the other end of {}, drops packets of more than {mtu} bytes, and says nothing: {} \
             sends up to {own_mtu}",
            name(end),
            name(own),
            own.1.name
        );
        Some(
            Found::new(own.0, &own.1.name, sentence)
                .seen(shown(own), format!("mtu {own_mtu}"))
                .seen(format!("{}{}", shown(end), end.0.within()), format!("mtu {mtu}"))
                .mend(own.0, format!("ip link set {} mtu {mtu}", own.1.name)),
        )
    });
    found.collect()
}

fn untold(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let Some(uplink) = router.uplinks.first() else { continue };
        let is_larger = |attached: &&Attached<'_>| {
            attached.router.cookie == router.place.cookie && attached.device.mtu > uplink.device.mtu
        };
        let Some(larger) = site.attached.iter().find(is_larger) else { continue };
        // Each of the two is asked.
        let by = |source: Source| {
            let lines = router.place.firewall.lines("-A OUTPUT ").filter(|(by, _)| *by == source);
            let rule = dropping(&lines.map(|(_, rule)| rule).collect::<Vec<_>>())?;
            Some(Verdict::of_iptables(source, rule))
        };
        let Some(drop) = by(Source::Iptables).or_else(|| by(Source::Legacy)) else { continue };
        let rule = &drop.text;
        let (name_out, mtu) = (&uplink.device.name, uplink.device.mtu);
        let sentence = format!(
            "packets of {} larger than {mtu}, the MTU of {name_out}{}, are lost, and the error that \
             would tell it is dropped by a rule: {rule}",
            larger.who(),
            router.place.within()
        );
        found.push(
            Found::new(router.place, rule, sentence)
                .seen(format!("ip link show dev {name_out}"), format!("mtu {mtu}"))
                .seen(
                    format!("ip link show dev {}{}", larger.device.name, larger.place.within()),
                    format!("mtu {}", larger.device.mtu),
                )
                .seen_rule(&drop)
                .mend(router.place, drop.accepting("OUTPUT", &[For::TooLong])),
        );
    }
    found
}

/// The rule that drops the error, if no rule before it could have accepted it.
fn dropping<'a>(rules: &[&'a str]) -> Option<&'a str> {
    let verdict = rules
        .iter()
        .find(|rule| !rule.contains("-j LOG") && !rule.contains("-p tcp") && !rule.contains("-p udp"))?;
    let words: Vec<_> = verdict.split_whitespace().collect();
    let [_, _, "-p", "icmp", matches @ .., "-j", "DROP"] = &words[..] else { return None };
    matches!(matches, [] | ["-m", "icmp", "--icmp-type", "3" | "3/4"]).then_some(*verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_about_it_counts() {
        let all = "-A OUTPUT -p icmp -j DROP";
        let type_3 = "-A OUTPUT -p icmp -m icmp --icmp-type 3/4 -j DROP";
        assert_eq!(dropping(&[all]), Some(all));
        assert_eq!(dropping(&["-A OUTPUT -p tcp -j ACCEPT", type_3]), Some(type_3));
        assert_eq!(dropping(&["-A OUTPUT -j ACCEPT", all]), None);
        assert_eq!(dropping(&["-A OUTPUT -p icmp -m icmp --icmp-type 8 -j DROP"]), None);
        assert_eq!(dropping(&["-A OUTPUT -o lo -p icmp -j DROP"]), None);
        assert_eq!(dropping(&[]), None);
    }
}
