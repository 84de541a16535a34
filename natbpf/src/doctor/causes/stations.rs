//! Stations: what a bridge knows, and what it may learn, of who is at which port.

use super::crossing::{Crossing, both_ways, colons, is_on};
use crate::doctor::{Cause, Found, Severity, Site, Stage, distinct, name};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "port-locked",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "A port is locked, and the bridge has no station for what is behind it",
        look: locked,
    },
    Cause {
        name: "port-unknown-station",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "A port neither learns who is behind it nor gets what is for unknown stations",
        look: unknown,
    },
    Cause {
        name: "station-at-wrong-port",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "Somebody has put a station at a port that it is not behind",
        look: elsewhere,
    },
];

fn every(site: &Site<'_>, look: impl Fn(&Crossing<'_>) -> Option<Found>) -> Vec<Found> {
    let found =
        site.attached.iter().flat_map(|attached| both_ways(attached).filter_map(|crossing| look(&crossing)));
    distinct(found.collect::<Vec<_>>())
}

fn locked(site: &Site<'_>) -> Vec<Found> {
    every(site, |crossing| {
        let (place, port) = crossing.from.filter(|(_, port)| is_on(port, |port| port.locked))?;
        let mac = crossing.sender.1.mac?;
        if crossing.stations(mac).any(|station| station.port == port.index) {
            return None;
        }
        let mac = colons(mac);
        let sentence = format!(
            "the bridge {} drops what {} sends: the port {} is locked, and has no station {mac}",
            name((place, crossing.bridge)),
            name(crossing.sender),
            port.name
        );
        Some(
            Found::new(place, &port.name, sentence)
                .seen(format!("bridge -d link show dev {}", port.name), "locked on")
                .seen(format!("bridge fdb show brport {}", port.name), format!("no {mac}"))
                .mend(place, format!("bridge fdb add {mac} dev {} master static", port.name)),
        )
    })
}

fn unknown(site: &Site<'_>) -> Vec<Found> {
    every(site, |crossing| {
        let (place, port) =
            crossing.to.filter(|(_, port)| is_on(port, |port| !port.flood && !port.learning))?;
        let mac = crossing.receiver.1.mac?;
        if crossing.stations(mac).next().is_some() {
            return None;
        }
        let mac = colons(mac);
        let sentence = format!(
            "the bridge {} sends nothing that is for {} to its port {}: it has no station {mac}, learns \
             none there, and floods nothing to it",
            name((place, crossing.bridge)),
            name(crossing.receiver),
            port.name
        );
        Some(
            Found::new(place, &port.name, sentence)
                .seen(format!("bridge -d link show dev {}", port.name), "learning off flood off")
                .seen(format!("bridge fdb show brport {}", port.name), format!("no {mac}"))
                .mend(place, format!("bridge link set dev {} learning on flood on", port.name)),
        )
    })
}

fn elsewhere(site: &Site<'_>) -> Vec<Found> {
    every(site, |crossing| {
        let (place, port) = crossing.to?;
        let mac = crossing.receiver.1.mac?;
        // In another VLAN the same address is another station.
        let carried = |vlan| is_on(port, |port| port.vlans.iter().any(|own| own.id == vlan));
        let mut stations = crossing.stations(mac).filter(|station| station.vlan.is_none_or(carried));
        let wrong = stations.find(|station| station.permanent && station.port != port.index)?;
        let at = place.device(wrong.port)?;
        // Where the next frame puts it right, nothing is wrong; an address that two have is another trouble.
        let moves = !wrong.fixed && is_on(port, |port| port.learning);
        let is_own = [at.mac, crossing.bridge.mac].contains(&Some(mac));
        if moves || is_own || crossing.stations(mac).any(|station| station.port == port.index) {
            return None;
        }
        let mac = colons(mac);
        let sentence = format!(
            "the bridge {} sends what is for {} to its port {}, where somebody has put its station \
             {mac}: it is behind {}",
            name((place, crossing.bridge)),
            name(crossing.receiver),
            at.name,
            port.name
        );
        let vlan = wrong.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
        Some(
            Found::new(place, &mac, sentence)
                .seen(
                    format!("bridge fdb show brport {}", at.name),
                    format!("{mac}{vlan} {}", if wrong.fixed { "permanent or sticky" } else { "static" }),
                )
                .mend(place, format!("bridge fdb del {mac} dev {} master{vlan}", at.name)),
        )
    })
}
