//! Ways that are not there.

use anyhow::Result;

use super::examination::{names, names_what_stops};

#[test]
fn the_router_has_no_default_route() -> Result<()> {
    names("no-default-route", "default", |lab| lab.gw.ip("route del default"))
}

#[test]
fn the_instance_has_no_default_route() -> Result<()> {
    names("instance-no-default-route", "eth0", |lab| lab.vm1.ip("route del default"))
}

/// The server is reached by the network that it is in; others are not.
#[test]
fn the_default_route_is_a_blackhole() -> Result<()> {
    names("default-route-refuses", "blackhole default", |lab| {
        lab.gw.ip("route del default\nroute add blackhole default")
    })
}

/// The one that is left counts no more than a better one.
#[test]
fn a_better_default_route_refuses() -> Result<()> {
    names("default-route-refuses", "unreachable default", |lab| {
        lab.gw.ip("route add default via 203.0.113.10 metric 50\nroute del default\n\
                   route add unreachable default metric 10")
    })
}

#[test]
fn answers_end_in_a_blackhole() -> Result<()> {
    names_what_stops("route-back-refuses", "blackhole 10.0.0.11/32", |lab| {
        lab.gw.ip("route add blackhole 10.0.0.11/32")
    })
}

#[test]
fn answers_are_led_elsewhere() -> Result<()> {
    names_what_stops("route-back-elsewhere", "10.0.0.0/28", |lab| lab.gw.ip("route add 10.0.0.0/28 dev wan"))
}
