//! Ways that are not there.

use anyhow::Result;

use super::examination::names;

#[test]
fn the_router_has_no_default_route() -> Result<()> {
    names("no-default-route", "default", |lab| lab.gw.ip("route del default"))
}

#[test]
fn the_instance_has_no_default_route() -> Result<()> {
    names("instance-no-default-route", "eth0", |lab| lab.vm1.ip("route del default"))
}
