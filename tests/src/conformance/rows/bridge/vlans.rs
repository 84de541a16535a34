//! VLANs by default, and one table for each.

use super::filtering::{filters, switch_on, unavailable};
use super::shown::vlan_lines;
use crate::conformance::bridge::{Bridge, Flow, NOWHERE};
use crate::conformance::prelude::*;
use crate::netns::link::{Link, colons};

/// A machine that is in two places.
const BOTH: Link = [2, 0, 0, 0, 3, 1];

pub fn one_vlan_by_default(bridge: &Bridge) -> Result<Outcome> {
    if !switch_on(bridge)? {
        return Ok(unavailable());
    }
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    bridge.repeat(&[&flow])?;
    let default = bridge.setting("vlan_default_pvid")?;
    expect!(default == 1, "the default PVID is {default}");
    let lines = vlan_lines(bridge)?;
    let wanted = ["port1", "port2", "port3", "br0"].map(|port| format!("{port} 1 PVID Egress Untagged"));
    expect!(lines.iter().all(|line| wanted.contains(line)) && lines.len() == 4, "the VLANs are {lines:?}");
    for vid in [0, 4095] {
        let taken = bridge.bridge(&format!("vlan add dev port1 vid {vid}")).is_ok();
        expect!(!taken, "VLAN {vid} can be given to a port");
    }
    bridge.bridge("vlan add dev port1 vid 4094")?;
    heard!(bridge, &flow.clone().tagged(4095), NOWHERE, "a frame with VID 4095");
    heard!(bridge, &flow.clone().tagged(0), "2", "a frame with VID 0");
    heard!(bridge, &flow, "2", "a frame without a tag");
    Ok(Meets)
}

pub fn one_address_in_two_vlans(bridge: &Bridge) -> Result<Outcome> {
    let vlans = [
        "port1 vid 10",
        "port1 vid 20",
        "port2 vid 10 pvid untagged",
        "port2 vid 20",
        "port3 vid 10",
        "port3 vid 20 pvid untagged",
    ];
    if !filters(bridge, &vlans)? {
        return Ok(unavailable());
    }
    let [one, two, three] = &bridge.stations;
    let there = |vlan| Flow::new(one, two).to(BOTH).tagged(vlan);
    let speaks = |station| Flow::to_all(station).from(BOTH);
    speaks(two).send()?;
    speaks(three).send()?;
    bridge.repeat(&[&there(10), &there(20)])?;
    heard!(bridge, &there(10), "2", "in VLAN 10, what is for the address");
    heard!(bridge, &there(20), "3", "in VLAN 20, what is for the address");
    for (port, vlan) in [("port2", 10), ("port3", 20)] {
        let entry = format!("{} dev {port} vlan {vlan} master br0", colons(BOTH));
        expect!(bridge.table()?.contains(&entry), "the table has no {entry}");
    }
    // In VLAN 20 it moves.
    speaks(two).tagged(20).send()?;
    heard!(bridge, &there(20), "2 with 20", "after a move in VLAN 20, what is for the address there");
    heard!(bridge, &there(10), "2", "after a move in VLAN 20, what is for the address in VLAN 10");
    Ok(Meets)
}
