//! Ways that are not there.

use anyhow::Result;
use lab::{Options, SERVER_V6};

use super::examination::{Examination, healthy_with, names, names_what_stops};

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

/// A host that reaches a company's network and nothing else, and one that has IPv6 alone.
#[test]
fn a_host_that_needs_no_default_route() -> Result<()> {
    for route in ["192.168.0.0/16 via 203.0.113.10".to_owned(), format!("::/0 via {SERVER_V6}")] {
        let lab = healthy_with(Options { ipv6: true, ..Options::default() })?;
        lab.gw.ip(&format!("route del default\nroute add {route}"))?;
        Examination::of(&lab.natbpf_cli()?)?.notes("some-routes-alone", "default")?;
    }
    Ok(())
}
