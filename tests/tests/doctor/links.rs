//! Devices that are down.

use anyhow::Result;
use lab::{SERVER, VM1};

use super::examination::{Examination, has_vlans, healthy, is_cut_off, names, names_on_node, reaches};

#[test]
fn the_instance_has_its_device_down() -> Result<()> {
    names("instance-device-down", "eth0", |lab| {
        lab.vm1.ip("link set eth0 down")?;
        is_cut_off(&lab.gw, VM1)
    })
}

#[test]
fn the_port_of_an_instance_is_down() -> Result<()> {
    names("port-down", "port1", |lab| {
        lab.gw.ip("link set port1 down")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn a_device_between_two_bridges_is_down() -> Result<()> {
    names_on_node("port-down", "qvo", |node| {
        node.host.ip("link set qvo down")?;
        is_cut_off(&node.vm1, SERVER)
    })
}

#[test]
fn the_bridge_of_the_router_is_down() -> Result<()> {
    names("inside-down", "br0", |lab| {
        lab.gw.ip("link set br0 down")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn the_way_out_is_down() -> Result<()> {
    names("uplink-down", "wan", |lab| {
        lab.gw.ip("link set wan down")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn the_other_end_of_the_way_out_is_down() -> Result<()> {
    names("uplink-end-down", "eth0", |lab| {
        lab.out.ip("link set eth0 down")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

/// A TAP that no program has opened.
#[test]
fn nothing_is_at_the_way_out() -> Result<()> {
    names("uplink-no-carrier", "wan2", |lab| {
        lab.gw.ip("tuntap add dev wan2 mode tap\nlink set wan2 up\naddr add 198.51.100.1/24 dev wan2\n\
             route replace default via 198.51.100.10 dev wan2")?;
        lab.gw.cmd("iptables").args("-t nat -A POSTROUTING -o wan2 -j MASQUERADE".split(' ')).run()?;
        is_cut_off(&lab.vm1, "198.51.100.10")
    })
}

#[test]
fn the_device_below_the_way_out_is_down() -> Result<()> {
    if !has_vlans()? {
        return Ok(());
    }
    let lab = healthy()?;
    for (end, device, address) in [(&lab.gw, "wan", "198.51.100.1"), (&lab.out, "eth0", "198.51.100.10")] {
        end.ip(&format!(
            "addr flush dev {device}\nlink add link {device} name {device}.5 type vlan id 5\n\
             link set {device}.5 up\naddr add {address}/24 dev {device}.5"
        ))?;
    }
    lab.gw.ip("route add default via 198.51.100.10")?;
    lab.gw.cmd("iptables").args("-t nat -A POSTROUTING -o wan.5 -j MASQUERADE".split(' ')).run()?;
    reaches(&lab.vm1, "198.51.100.10", "-c 3")?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.is_healthy()?;
    lab.gw.ip("link set wan down")?;
    is_cut_off(&lab.vm1, "198.51.100.10")?;
    Examination::of(&cli)?.is_alone("lower-device-down", "wan")
}

#[test]
fn who_lies_on_the_way_out_does_not_reach_the_host() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("link add link wan name mac0 netns vm2 type macvlan mode bridge")?;
    lab.vm2.ip("link set mac0 up\naddr add 203.0.113.50/24 dev mac0")?;
    is_cut_off(&lab.vm2, "203.0.113.1")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("macvlan-own-host", "mac0")
}
