//! Addresses that two have, or that are at the wrong device.

use anyhow::Result;
use lab::netns::link::{colons, link_address};
use lab::{Lab, SERVER};

use super::examination::{Examination, healthy, iptables, is_cut_off, names, reaches};

/// Which of them the router has asked is a matter of luck.
#[test]
fn two_instances_have_an_address() -> Result<()> {
    names("duplicate-address", "10.0.0.11", |lab| {
        lab.vm2.ip("addr flush dev eth0\naddr add 10.0.0.11/24 dev eth0\nroute add default via 10.0.0.1")
    })
}

#[test]
fn an_instance_has_the_address_of_its_router() -> Result<()> {
    names("instance-has-gateway-address", "10.0.0.1", |lab| lab.vm2.ip("addr add 10.0.0.1/24 dev eth0"))
}

#[test]
fn two_instances_have_a_link_layer_address() -> Result<()> {
    let lab = healthy()?;
    let mac = colons(link_address(&lab.vm1, "eth0")?);
    lab.vm2.ip(&format!("link set eth0 address {mac}"))?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("duplicate-mac", &mac)
}

#[test]
fn an_instance_has_the_link_layer_address_of_its_router() -> Result<()> {
    names("duplicate-mac", "02:00:00:00:00:77", |lab| {
        lab.gw.ip("link set br0 address 02:00:00:00:00:77")?;
        lab.vm1.ip("link set eth0 address 02:00:00:00:00:77")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

/// A healthy lab that what is to be typed makes healthy again.
fn names_and_mends(cause: &str, object: &str, break_it: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    break_it(&lab)?;
    is_cut_off(&lab.vm1, SERVER)?;
    let found = Examination::of(&cli)?;
    found.is_alone(cause, object)?;
    found.mends(&lab.gw)?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    Examination::of(&cli)?.is_healthy()
}

#[test]
fn the_address_of_the_router_is_on_a_port() -> Result<()> {
    names_and_mends("address-on-port", "port1", |lab| {
        lab.gw.ip("addr del 10.0.0.1/24 dev br0\naddr add 10.0.0.1/24 dev port1")
    })
}

#[test]
fn the_way_out_is_a_port() -> Result<()> {
    names_and_mends("uplink-is-port", "wan", |lab| {
        iptables(lab, "-t nat -A POSTROUTING -s 10.0.0.0/24 -o br9 -j MASQUERADE")?;
        lab.gw.ip("link add br9 type bridge\nlink set br9 up\nlink set wan master br9")
    })
}
