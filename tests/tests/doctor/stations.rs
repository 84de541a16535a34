//! Stations that bridges do not have, or have elsewhere.

use anyhow::Result;
use lab::netns::link::{colons, link_address};
use lab::{GATEWAY_INSIDE, SERVER};

use super::examination::{Examination, healthy, is_cut_off, names};

#[test]
fn a_locked_port_has_no_station() -> Result<()> {
    names("port-locked", "port1", |lab| {
        lab.gw.cmd("bridge").args("link set dev port1 locked on".split(' ')).run()?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn a_port_neither_learns_nor_floods() -> Result<()> {
    names("port-unknown-station", "port1", |lab| {
        lab.gw.cmd("bridge").args("link set dev port1 learning off flood off".split(' ')).run()?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn a_station_is_put_at_another_port() -> Result<()> {
    let lab = healthy()?;
    let mac = colons(link_address(&lab.vm1, "eth0")?);
    lab.gw.cmd("bridge").args(["fdb", "add", &mac, "dev", "port2", "master", "static", "sticky"]).run()?;
    is_cut_off(&lab.vm1, GATEWAY_INSIDE)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("station-at-wrong-port", &mac)
}
