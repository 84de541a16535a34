//! Rules of the routing policy.

use crate::{
    doctor::{Cause, Found, Inside, Severity, Site, Stage},
    facts::{Lookup, Route, Rule},
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "policy-refuses",
        severity: Severity::Error,
        stage: Stage::Routing,
        title: "A rule of the routing policy, or the table it leads to, refuses packets of a network",
        look: refuses,
    },
    Cause {
        name: "policy-no-route",
        severity: Severity::Error,
        stage: Stage::Routing,
        title: "There is a default route, but in a table that no rule leads packets of a network to",
        look: no_route,
    },
    Cause {
        name: "policy-table-empty",
        severity: Severity::Warning,
        stage: Stage::Routing,
        title: "A rule of the routing policy leads a network to a table without a route",
        look: empty_table,
    },
];

fn refuses(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        for inside in &router.insides {
            let Lookup::Refused(rule, route) = router.outward(inside) else { continue };
            // Others may be for a part of the outside alone.
            if rule.is_usual() || rule.destination.is_some() || !route.is_none_or(Route::is_default) {
                continue;
            }
            let (place, priority) = (router.place, rule.priority);
            let by = route.map(|route| format!(", where there is {route}")).unwrap_or_default();
            let sentence = format!(
                "packets of {} to the outside are refused{} by the routing policy: {rule}{by}",
                inside.network(),
                place.within()
            );
            let mend = match route {
                Some(route) => format!("ip route del {route} table {}", route.table),
                None => format!("ip rule del priority {priority}"),
            };
            found.push(
                Found::new(place, rule.to_string(), sentence)
                    .seen("ip rule show", format!("{priority}: {rule}"))
                    .mend(place, mend),
            );
        }
    }
    found
}

fn no_route(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        let defaults = place.defaults();
        let Some(default) = defaults.first() else { continue };
        for inside in router.insides.iter().filter(|inside| router.outward(inside) == Lookup::Nowhere) {
            let (network, table) = (inside.network(), default.table);
            let sentence = format!(
                "packets of {network} are not led out{}: the default route is in table {table}, and no rule leads \
                 them there",
                place.within()
            );
            found.push(
                Found::new(place, network.to_string(), sentence)
                    .seen(format!("ip route show table {table}"), default)
                    .mend(place, format!("ip rule add from {network} lookup {table}")),
            );
        }
    }
    found
}

fn empty_table(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        let is_plain = |rule: &&Rule| !rule.v6 && !rule.special && !rule.inverted && rule.mark.is_none();
        let rules = place.rules.iter().filter(is_plain).filter(|rule| !rule.is_usual());
        for rule in rules {
            let Some(table) =
                rule.table.filter(|table| place.routes.iter().all(|route| route.table != *table))
            else {
                continue;
            };
            let led = |inside: &&Inside<'_>| {
                let whole = ipnet::IpNet::V4(inside.network());
                let source = rule.source.is_some_and(|source| source.contains(&whole));
                source || rule.input.as_ref() == Some(&inside.device.name)
            };
            let Some(inside) = router.insides.iter().find(led) else { continue };
            let sentence = format!(
                "the rule `{rule}`{} does nothing for packets of {}: table {table} has no route",
                place.within(),
                inside.network()
            );
            found.push(
                Found::new(place, rule.to_string(), sentence)
                    .seen(format!("ip route show table {table}"), "nothing")
                    .mend(place, format!("ip route add default via GATEWAY table {table}")),
            );
        }
    }
    found
}
