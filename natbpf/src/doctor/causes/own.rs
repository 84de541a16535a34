//! natbpf itself.

use std::net::Ipv4Addr;

use natbpf_common::contract::counter::{Counter, DropReason};

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage},
    facts::{Natbpf, Place},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "natbpf-no-daemon",
        severity: Severity::Warning,
        stage: Stage::Host,
        title: "natbpf translates, and no daemon keeps house",
        look: no_daemon,
    },
    Cause {
        name: "natbpf-other-version",
        severity: Severity::Warning,
        stage: Stage::Host,
        title: "Another version of natbpf has left its state, so that this one does not start",
        look: other_version,
    },
    Cause {
        name: "natbpf-uplink-left-out",
        severity: Severity::Warning,
        stage: Stage::Uplink,
        title: "natbpf cannot have one of its uplinks",
        look: left_out,
    },
    Cause {
        name: "natbpf-uplink-down",
        severity: Severity::Note,
        stage: Stage::Uplink,
        title: "An uplink of natbpf is down",
        look: uplink_down,
    },
    Cause {
        name: "natbpf-no-address",
        severity: Severity::Error,
        stage: Stage::Translation,
        title: "An uplink of natbpf has no address to translate to",
        look: no_address,
    },
    Cause {
        name: "natbpf-flows-full",
        severity: Severity::Warning,
        stage: Stage::Conntrack,
        title: "natbpf's flow table is full, or nearly",
        look: flows_full,
    },
    Cause {
        name: "natbpf-ports-used-up",
        severity: Severity::Warning,
        stage: Stage::Translation,
        title: "natbpf finds no external port for new flows",
        look: no_port,
    },
    Cause {
        name: "natbpf-quota",
        severity: Severity::Note,
        stage: Stage::Conntrack,
        title: "natbpf refuses flows of instances that have too many",
        look: quota,
    },
    Cause {
        name: "natbpf-leaves-to-kernel",
        severity: Severity::Note,
        stage: Stage::Filter,
        title: "A rule has to see every packet, so that natbpf repeats none of that traffic",
        look: obstacle,
    },
];

/// Where an instance of natbpf is, as far as that is seen.
fn place<'a>(site: &'a Site<'a>, own: &Natbpf) -> &'a Place {
    site.host.at(own.namespace).unwrap_or_else(|| site.host.home())
}

fn command(own: &Natbpf, rest: &str) -> String {
    format!("natbpf --instance {} {rest}", own.name)
}

/// Those that this version can read.
fn readable<'a>(site: &'a Site<'a>) -> impl Iterator<Item = (&'a Natbpf, &'a Place)> {
    site.host.natbpf.iter().filter(|own| !own.foreign).map(|own| (own, place(site, own)))
}

fn no_daemon(site: &Site<'_>) -> Vec<Found> {
    let alone = readable(site).filter(|(own, _)| !own.daemon);
    alone
        .map(|(own, place)| {
            let sentence = format!(
                "natbpf {} translates without its daemon{}: flows never expire, and no change of addresses or rules is \
                 followed",
                own.name,
                place.within()
            );
            Found::new(place, &own.name, sentence)
                .seen("natbpf status", "daemon not running")
                .mend(place, command(own, "run"))
        })
        .collect()
}

fn other_version(site: &Site<'_>) -> Vec<Found> {
    let foreign = site.host.natbpf.iter().filter(|own| own.foreign);
    foreign
        .map(|own| {
            let place = site.host.home();
            let sentence =
                format!("natbpf {} is of another version, which this one does not take over", own.name);
            Found::new(place, &own.name, sentence)
                .seen("the folder of its pins", format!("natbpf/{}", own.name))
                .mend(place, command(own, "detach"))
        })
        .collect()
}

fn left_out(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (own, place) in readable(site).filter(|(own, _)| own.daemon) {
        for left in own.left_out.iter().filter(|left| left.role == "uplink") {
            let sentence = format!(
                "what leaves by {}{} is not translated by natbpf {}: {}",
                left.name,
                place.within(),
                own.name,
                left.reason
            );
            found.push(
                Found::new(place, &left.name, sentence)
                    .seen("natbpf status", format!("left out: {}", left.name))
                    .mend(place, format!("tc filter show dev {} ingress", left.name)),
            );
        }
    }
    found
}

fn uplink_down(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (own, place) in readable(site).filter(|(own, _)| site.host.at(own.namespace).is_some()) {
        for device in own.uplinks.iter().filter_map(|(uplink, _)| place.device(*uplink)) {
            let name = &device.name;
            if !device.up {
                let sentence = format!(
                    "nothing leaves by {name}{}, an uplink of natbpf {}: it is down",
                    place.within(),
                    own.name
                );
                found.push(
                    Found::new(place, name, sentence)
                        .seen(format!("ip link show dev {name}"), "DOWN")
                        .mend(place, format!("ip link set dev {name} up")),
                );
            }
        }
    }
    found
}

/// Without an address of the uplink, another device's is taken. One of the inside is wrong for certain.
fn no_address(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (own, place) in readable(site) {
        let routers = || site.routers.iter().filter(|router| router.place.cookie == place.cookie);
        let is_inside = |address: &Ipv4Addr| {
            routers().flat_map(|router| &router.insides).any(|inside| inside.net.addr() == *address)
        };
        let of_inside = own.uplinks.iter().filter(|(_, addresses)| addresses.iter().any(is_inside));
        for (uplink, addresses) in of_inside {
            let Some(device) = place.device(*uplink) else { continue };
            let own_address = place.addresses_of(device).any(|address| address.net.addr().is_ipv4());
            let Some(address) = addresses.first().filter(|_| !own_address) else { continue };
            let name = &device.name;
            let sentence = format!(
                "what leaves by {name}{} has the inside address {address}, and no answer finds back: {name} has no IPv4 \
                 address for natbpf {} to translate to",
                place.within(),
                own.name
            );
            found.push(
                Found::new(place, name, sentence)
                    .seen(format!("ip -4 address show dev {name}"), "no address")
                    .seen("natbpf status", format!("uplink {name}, addresses {address}"))
                    .mend(place, format!("ip address add ADDRESS/LENGTH dev {name}")),
            );
        }
    }
    found
}

fn flows_full(site: &Site<'_>) -> Vec<Found> {
    let full = readable(site).filter(|(own, _)| {
        own.flows.count * 10 >= own.flows.max * 9 || refused(own, DropReason::TableFull).is_some()
    });
    full.map(|(own, place)| {
        let sentence = format!(
            "new flows soon find no room in natbpf {}{}: it has {} flows",
            own.name,
            place.within(),
            own.flows
        );
        Found::new(place, &own.name, sentence)
            .seen("natbpf status", format!("flows {}", own.flows))
            .seen("natbpf status", format!("table_full {}", own.dropped(DropReason::TableFull)))
            .mend_by_shell(place, "sed -i 's/^max_flows = .*/max_flows = 1048576/' /etc/natbpf/natbpf.toml")
    })
    .collect()
}

/// What was refused is more than one in a hundred of what was begun.
fn refused(own: &Natbpf, reason: DropReason) -> Option<u64> {
    let refused = own.dropped(reason);
    (refused * 100 > own.count(Counter::FlowsCreated) + refused).then_some(refused)
}

fn no_port(site: &Site<'_>) -> Vec<Found> {
    let short =
        readable(site).filter_map(|(own, place)| Some((own, place, refused(own, DropReason::NoPort)?)));
    short
        .map(|(own, place, refused)| {
            let sentence = format!(
                "new flows are refused by natbpf {}{}: {refused} packets found no external port free",
                own.name,
                place.within()
            );
            Found::new(place, &own.name, sentence)
                .seen("natbpf status", format!("no_port {refused}"))
                .mend(place, command(own, "flows list"))
        })
        .collect()
}

fn quota(site: &Site<'_>) -> Vec<Found> {
    let strict =
        readable(site).filter_map(|(own, place)| Some((own, place, refused(own, DropReason::Quota)?)));
    strict
        .map(|(own, place, refused)| {
            let sentence = format!(
                "natbpf {}{} has refused {refused} packets of sources with too many flows, or that begin them too fast",
                own.name,
                place.within()
            );
            Found::new(place, &own.name, sentence)
                .seen("natbpf status", format!("quota {refused}"))
                .mend(place, command(own, "flows list"))
        })
        .collect()
}

fn obstacle(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (own, place) in readable(site).filter(|(own, _)| own.daemon) {
        for obstacle in &own.obstacles {
            let sentence = format!(
                "natbpf {}{} leaves {} to the kernel: {} {}",
                own.name,
                place.within(),
                obstacle.traffic,
                obstacle.place,
                obstacle.what
            );
            found.push(
                Found::new(place, &obstacle.place, sentence)
                    .seen("natbpf status", format!("{}: {}", obstacle.name, obstacle.traffic))
                    .mend(place, command(own, "status")),
            );
        }
    }
    found
}
