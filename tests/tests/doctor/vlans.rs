//! Bridges that filter VLANs.

use anyhow::Result;
use lab::{Lab, Namespace, SERVER};

use super::examination::{Examination, has_vlans, healthy, healthy_node, is_cut_off, names, reaches};

/// Runs `bridge vlan` for each line.
fn vlan(host: &Namespace, lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| host.cmd("bridge").arg("vlan").args(line.split(' ')).run())
}

/// A lab whose bridge filters is broken by `bridge vlan`.
fn named(cause: &str, object: &str, lines: &[&str]) -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    let lab = healthy()?;
    lab.gw.ip("link set br0 type bridge vlan_filtering 1")?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.is_healthy()?;
    vlan(&lab.gw, lines)?;
    is_cut_off(&lab.vm1, SERVER)?;
    Examination::of(&cli)?.is_alone(cause, object)
}

#[test]
fn a_port_has_no_pvid() -> Result<()> {
    named("port-without-pvid", "port1", &["del vid 1 dev port1"])
}

#[test]
fn an_instance_is_in_another_vlan() -> Result<()> {
    named("port-in-other-vlan", "port1", &["del vid 1 dev port1", "add vid 10 dev port1 pvid untagged"])
}

#[test]
fn the_bridge_is_not_in_the_vlan_of_its_ports() -> Result<()> {
    named("bridge-not-in-vlan", "br0", &["del vid 1 dev br0 self"])
}

#[test]
fn answers_leave_with_a_tag() -> Result<()> {
    named("port-sends-tagged", "port1", &["add vid 1 dev port1 pvid"])
}

#[test]
fn the_port_to_the_router_does_not_carry_the_vlan() -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    let node = healthy_node()?;
    let cli = node.natbpf_cli()?;
    node.host.ip("link set qbr type bridge vlan_filtering 1")?;
    Examination::of(&cli)?.is_healthy()?;
    vlan(&node.host, &["del vid 1 dev qvb"])?;
    is_cut_off(&node.vm1, SERVER)?;
    Examination::of(&cli)?.is_alone("vlan-not-on-port", "qvb")
}

/// The router's address moves to a VLAN of the bridge.
fn listen_in_vlan_10(lab: &Lab) -> Result<()> {
    lab.gw.ip("link add link br0 name br0.10 type vlan id 10\nlink set br0.10 up\n\
         addr del 10.0.0.1/24 dev br0\naddr add 10.0.0.1/24 dev br0.10")
}

#[test]
fn the_router_listens_in_a_vlan_of_nobody() -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    names("vlan-device-unserved", "br0.10", |lab| {
        listen_in_vlan_10(lab)?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn the_bridge_is_not_in_the_vlan_of_its_router() -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    listen_in_vlan_10(&lab)?;
    lab.gw.ip("link set br0 type bridge vlan_filtering 1")?;
    let ports = ["port1", "port2"].map(|port| format!("add vid 10 dev {port} pvid untagged"));
    vlan(&lab.gw, &[&*ports[0], &*ports[1], "add vid 10 dev br0 self"])?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    Examination::of(&cli)?.is_healthy()?;
    vlan(&lab.gw, &["del vid 10 dev br0 self"])?;
    is_cut_off(&lab.vm1, SERVER)?;
    Examination::of(&cli)?.is_alone("bridge-not-in-vlan", "br0")
}

/// The router is at the other end of a cable with VLANs: there, a frame without a tag would be heard by nobody.
#[test]
fn the_cable_to_the_router_does_not_carry_the_vlan() -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    lab.gw.ip(
        "link add trunk0 type veth peer name trunk1\nlink set trunk0 master br0 up\nlink set trunk1 up\n\
               link add link trunk1 name lan10 type vlan id 10\naddr del 10.0.0.1/24 dev br0\n\
               addr add 10.0.0.1/24 dev lan10\nlink set lan10 up\nlink set br0 type bridge vlan_filtering 1",
    )?;
    let ports = ["port1", "port2"].map(|port| format!("add vid 10 dev {port} pvid untagged"));
    vlan(&lab.gw, &[&*ports[0], &*ports[1], "add vid 10 dev trunk0"])?;
    lab.gw.wait_for_carriers()?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    Examination::of(&cli)?.is_healthy()?;
    vlan(&lab.gw, &["del vid 10 dev trunk0"])?;
    is_cut_off(&lab.vm1, SERVER)?;
    let found = Examination::of(&cli)?;
    found.is_alone("vlan-not-on-port", "trunk0")?;
    found.mends(&lab.gw)?;
    reaches(&lab.vm1, SERVER, "-c 3")
}
