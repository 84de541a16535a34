//! The VLANs of ports, and what they let in and out.

use crate::conformance::bridge::{Bridge, Flow, NOWHERE};
use crate::conformance::prelude::*;

/// A tag without a VLAN, of priority 5.
const PRIORITY: u16 = 5 << 13;

/// Switches VLAN filtering on, with these VLANs and no others, and starts natbpf. False: this kernel has none.
pub fn filters(bridge: &Bridge, vlans: &[&str]) -> Result<bool> {
    if !switch_on(bridge)? {
        return Ok(false);
    }
    bridge.host.ip("link set br0 type bridge vlan_default_pvid 0")?;
    for vlan in vlans {
        bridge.bridge(&format!("vlan add dev {vlan}"))?;
    }
    bridge.start()?;
    Ok(true)
}

/// Switches VLAN filtering on. False: this kernel has none.
pub fn switch_on(bridge: &Bridge) -> Result<bool> {
    match bridge.host.ip("link set br0 type bridge vlan_filtering 1") {
        Err(error) if format!("{error:#}").contains("Operation not supported") => Ok(false),
        done => done.map(|()| true),
    }
}

/// What a row says where there is none.
pub fn unavailable() -> Outcome {
    Outcome::Unavailable("this kernel was built without `CONFIG_BRIDGE_VLAN_FILTERING`".into())
}

pub fn untagged_frames_take_the_pvid(bridge: &Bridge) -> Result<Outcome> {
    let vlans = ["port1 vid 10 pvid untagged", "port2 vid 10", "port2 vid 11", "port3 vid 20 pvid untagged"];
    if !filters(bridge, &vlans)? {
        return Ok(unavailable());
    }
    let [one, two, _] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one).tagged(10));
    let (prioritized, tagged) = (flow.clone().tagged(PRIORITY), flow.clone().tagged(10));
    heard!(bridge, &back, "1", "a frame of VLAN 10 from port 2");
    heard!(bridge, &flow, "2 with 10", "a frame without a tag");
    heard!(bridge, &prioritized, "2 with 10/5", "a frame with a priority and no VLAN");
    bridge.repeat(&[&flow, &prioritized, &back])?;
    heard!(bridge, &flow, "2 with 10", "what is repeated without a tag");
    heard!(bridge, &prioritized, "2 with 10/5", "what is repeated with a priority and no VLAN");

    bridge.bridge("vlan add dev port1 vid 11 pvid untagged")?;
    heard!(bridge, &flow, "2 with 11", "with a PVID of 11 a frame without a tag");
    heard!(bridge, &prioritized, "2 with 11/5", "with a PVID of 11 a frame with a priority and no VLAN");
    bridge.repeat(&[&flow, &prioritized])?;
    bridge.bridge("vlan del dev port1 vid 11")?;
    heard!(bridge, &flow, NOWHERE, "without a PVID a frame without a tag");
    heard!(bridge, &prioritized, NOWHERE, "without a PVID a frame with a priority and no VLAN");
    heard!(bridge, &tagged, "2 with 10", "without a PVID a frame of VLAN 10");
    Ok(Meets)
}

pub fn a_tag_that_the_port_does_not_have_is_dropped(bridge: &Bridge) -> Result<Outcome> {
    let all = ["10", "20", "30"].map(|vlan| format!("port2 vid {vlan}"));
    let [a, b, c] = [&all[0], &all[1], &all[2]];
    if !filters(bridge, &["port1 vid 10", "port1 vid 20", a, b, c, "port3 vid 30"])? {
        return Ok(unavailable());
    }
    let [one, two, _] = &bridge.stations;
    let flow = |vlan| Flow::new(one, two).tagged(vlan);
    for vlan in [10, 20, 30] {
        Flow::to_all(two).tagged(vlan).send()?;
    }
    bridge.repeat(&[&flow(10), &flow(20)])?;
    heard!(bridge, &flow(10), "2 with 10", "a frame of VLAN 10");
    heard!(bridge, &flow(30), NOWHERE, "a frame of VLAN 30, which the port does not have");
    heard!(bridge, &Flow::to_all(one).tagged(30), NOWHERE, "a broadcast of VLAN 30");
    bridge.bridge("vlan del dev port1 vid 20")?;
    heard!(bridge, &flow(20), NOWHERE, "a frame of VLAN 20, which was taken from the port");
    heard!(bridge, &flow(10), "2 with 10", "a frame of VLAN 10, which it still has");
    bridge.bridge("vlan add dev port1 vid 20")?;
    heard!(bridge, &flow(20), "2 with 20", "a frame of VLAN 20, which was given back");
    Ok(Meets)
}

pub fn members_alone_hear_it_and_with_their_tag(bridge: &Bridge) -> Result<Outcome> {
    let vlans = [
        "port1 vid 10 pvid untagged",
        "port1 vid 20",
        "port2 vid 10",
        "port2 vid 20",
        "port3 vid 10 pvid untagged",
    ];
    if !filters(bridge, &vlans)? {
        return Ok(unavailable());
    }
    let [one, two, three] = &bridge.stations;
    let (trunk, access) = (Flow::new(one, two), Flow::new(one, three));
    heard!(bridge, &Flow::to_all(one), "2 with 10, 3", "a broadcast of VLAN 10");
    heard!(bridge, &Flow::to_all(one).tagged(20), "2 with 20", "a broadcast of VLAN 20");
    Flow::to_all(two).tagged(10).send()?;
    Flow::to_all(three).send()?;
    bridge.repeat(&[&trunk, &access])?;
    heard!(bridge, &trunk, "2 with 10", "what is for a station at a trunk");
    heard!(bridge, &access, "3", "what is for a station at an access port");
    bridge.bridge("vlan add dev port3 vid 10")?;
    heard!(bridge, &access, "3 with 10", "what is for a station at a port that keeps the tag now");
    bridge.repeat(&[&access])?;
    bridge.bridge("vlan del dev port3 vid 10")?;
    // Nobody knows where it is now.
    heard!(bridge, &access, "2 with 10", "what is for a station at a port that is no member any more");
    heard!(bridge, &Flow::to_all(one), "2 with 10", "a broadcast of VLAN 10 without port 3");
    Ok(Meets)
}
