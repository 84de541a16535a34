//! Bridges that do not pass frames.

use anyhow::Result;
use lab::{GATEWAY_INSIDE, SERVER, VM2};

use super::examination::{Examination, healthy, is_cut_off, names, names_on_node, reaches};

#[test]
fn a_bridge_on_the_way_is_down() -> Result<()> {
    names_on_node("bridge-down", "qbr", |node| {
        node.host.ip("link set qbr down")?;
        is_cut_off(&node.vm1, SERVER)
    })
}

#[test]
fn the_bridge_of_the_way_out_leads_nowhere() -> Result<()> {
    names_on_node("uplink-bridge-empty", "br-ex", |node| {
        node.host.ip("link set eth0 nomaster")?;
        is_cut_off(&node.vm1, SERVER)
    })
}

#[test]
fn a_port_is_disabled() -> Result<()> {
    names("port-blocked", "port1", |lab| {
        lab.gw.cmd("bridge").args("link set dev port1 state 0".split(' ')).run()?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn a_port_between_bridges_is_disabled() -> Result<()> {
    names_on_node("port-blocked", "qvb", |node| {
        node.host.cmd("bridge").args("link set dev qvb state 0".split(' ')).run()?;
        is_cut_off(&node.vm1, SERVER)
    })
}

#[test]
fn the_spanning_tree_looks_for_loops() -> Result<()> {
    names("port-listening", "port1", |lab| {
        lab.gw.ip("link del port2\nlink set br0 type bridge forward_delay 3000 stp_state 1\n\
             link set port1 down\nlink set port1 up")?;
        lab.wait_for_carriers()?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn instance_and_router_are_isolated() -> Result<()> {
    names_on_node("port-isolated-from-router", "qvb", |node| {
        for port in ["tap0", "qvb"] {
            node.host.cmd("bridge").args(["link", "set", "dev", port, "isolated", "on"]).run()?;
        }
        reaches(&node.vm2, SERVER, "-c 3")?;
        is_cut_off(&node.vm1, SERVER)
    })
}

#[test]
fn isolated_instances_do_not_reach_each_other() -> Result<()> {
    let lab = healthy()?;
    for port in ["port1", "port2"] {
        lab.gw.cmd("bridge").args(["link", "set", "dev", port, "isolated", "on"]).run()?;
    }
    reaches(&lab.vm1, GATEWAY_INSIDE, "-c 3")?;
    is_cut_off(&lab.vm1, VM2)?;
    Examination::of(&lab.natbpf_cli()?)?.notes("instances-isolated", "br0")
}
