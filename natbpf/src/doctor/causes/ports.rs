//! Ports of rules that translate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage, Uplink, distinct, way::packets},
    facts::{Flow, Place, SourceNat},
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "masquerade-ports-used-up",
    severity: Severity::Warning,
    stage: Stage::Translation,
    title: "All ports of the rule that masquerades a network are taken by flows to one destination",
    look,
}];

const FAILED: &str = "conntrack.insert_failed";

/// The one destination that flows of a protocol to take all ports, with how many they are.
///
/// Netfilter may give a port to flows to different destinations, so each has all of them.
fn used_up(
    place: &Place,
    uplink: &Uplink<'_>,
    protocol: u8,
    nat: &SourceNat,
) -> Option<(SocketAddrV4, usize)> {
    let ports = nat.allowed_ports();
    let is_own = |address: Ipv4Addr| match nat.to {
        Some(_) => nat.single() == Some(address),
        None => place.addresses_of(uplink.device).any(|own| own.net.addr() == IpAddr::V4(address)),
    };
    let of_rule = |flow: &&Flow| {
        flow.protocol == protocol && ports.contains(&flow.external.port()) && is_own(*flow.external.ip())
    };
    let mut taken: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
    for flow in place.flows.iter().filter(of_rule) {
        taken.entry((*flow.external.ip(), flow.remote)).or_default().insert(flow.external.port());
    }
    let is_all = |count: usize| count as u64 * 100 >= ports.len() as u64 * Flow::MANY;
    let mut taken = taken.into_iter().map(|((_, remote), taken)| (remote, taken.len()));
    // One port alone is meant to be one.
    taken.find(|(_, count)| ports.len() > 1 && is_all(*count))
}

/// The counter alone is not enough. It is since the host has started, nothing counts what did not fail, and a few fail
/// on any host: two packets of a new flow that are on two processors at once. With all ports taken, it says that flows
/// found none.
fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        let Some(failed) = place.settings.counter(FAILED).filter(|failed| *failed > 0) else { continue };
        for (inside, uplink) in router.ways_out() {
            let (out, network) = (&uplink.device.name, inside.network());
            for packet in packets(&inside.device.name, out, inside.example()) {
                let Some((rule, nat)) = place.firewall.source(&packet) else { continue };
                let Some((remote, taken)) = used_up(place, &uplink, packet.protocol, &nat) else { continue };
                let protocol = if packet.protocol == 6 { "tcp" } else { "udp" };
                let sentence = format!(
                    "{taken} of {} ports that a rule has for {network}{} are taken by flows of {protocol} to \
                     {remote}, and packets of new ones there are dropped: {}",
                    nat.allowed_ports().len(),
                    place.within(),
                    rule.text
                );
                let to = match (nat.ports, nat.single()) {
                    (Some(_), Some(address)) => format!("SNAT --to-source {address}"),
                    (Some(_), None) => "MASQUERADE".to_owned(),
                    (None, _) => "SNAT --to-source FIRST-LAST".to_owned(),
                };
                let (address, port) = (remote.ip(), remote.port());
                found.push(
                    Found::of_rule(place, &rule, sentence)
                        .seen(
                            format!("conntrack -L -p {protocol} -d {address} --orig-port-dst {port}"),
                            taken,
                        )
                        .seen("/proc/net/stat/nf_conntrack", format!("insert_failed {failed}"))
                        .mend(
                            place,
                            format!(
                                "iptables -t nat -I POSTROUTING -s {network} -o {out} -j {to} --random-fully"
                            ),
                        ),
                );
            }
        }
    }
    distinct(found)
}
