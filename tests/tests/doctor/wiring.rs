//! Host ends of instances in the wrong place.

use anyhow::Result;
use lab::SERVER;

use super::examination::{is_cut_off, names, names_on_node};

#[test]
fn the_port_of_an_instance_is_in_no_bridge() -> Result<()> {
    names("port-in-no-bridge", "port1", |lab| {
        lab.gw.ip("link set port1 nomaster")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn the_port_of_an_instance_is_in_another_bridge() -> Result<()> {
    names("port-in-wrong-bridge", "port1", |lab| {
        lab.gw.ip("link add br9 type bridge\nlink set br9 up\nlink set port1 master br9")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

/// The router is in a namespace of its own.
#[test]
fn an_instance_of_a_node_is_in_another_bridge() -> Result<()> {
    names_on_node("port-in-wrong-bridge", "tap0", |node| {
        node.host.ip("link add br9 type bridge\nlink set br9 up\nlink set tap0 master br9")?;
        is_cut_off(&node.vm1, SERVER)
    })
}
