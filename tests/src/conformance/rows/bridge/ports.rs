//! Ports that are isolated, and ports that go down.

use crate::conformance::bridge::{Bridge, Flow, NOWHERE};
use crate::conformance::prelude::*;

pub fn isolated_ports_do_not_reach_each_other(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, three] = &bridge.stations;
    let isolated = [Flow::new(one, two), Flow::new(two, one)];
    let others = [Flow::new(one, three), Flow::new(three, one)];
    bridge.repeat(&[&isolated[0], &isolated[1], &others[0], &others[1]])?;
    for port in ["port1", "port2"] {
        bridge.bridge(&format!("link set dev {port} isolated on"))?;
    }
    for flow in &isolated {
        heard!(bridge, flow, NOWHERE, "between two isolated ports a packet");
    }
    heard!(bridge, &others[0], "3", "from an isolated port, what is for station 3");
    heard!(bridge, &others[1], "1", "to an isolated port, what station 3 sends");
    heard!(bridge, &Flow::to_all(one), "3", "a broadcast from an isolated port");
    heard!(bridge, &Flow::to_all(three), "1, 2", "a broadcast from the other port");
    bridge.repeat(&[&others[0], &others[1]])?;
    bridge.bridge("link set dev port2 isolated off")?;
    heard!(bridge, &isolated[0], "2", "from an isolated port to one that is no more, a packet");
    heard!(bridge, &isolated[1], "1", "to an isolated port from one that is no more, a packet");
    Ok(Meets)
}

pub fn a_port_that_goes_down_is_forgotten(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    bridge.repeat(&[&flow, &back])?;
    bridge.host.ip("link set port2 down")?;
    expect!(!bridge.has(two.link, "port2")?, "the station is still in the table");
    expect!(bridge.has(one.link, "port1")?, "a station of another port is not in the table any more");
    heard!(bridge, &flow, "3", "what is for a station that is forgotten");
    // One copy looks like a path.
    (0..20).try_for_each(|_| flow.send())?;
    bridge.host.ip("link set port2 up")?;
    bridge.host.wait_for_carriers()?;
    two.namespace.wait_for_carriers()?;
    heard!(bridge, &flow, "2, 3", "with the port up again, what is for a station that nobody knows");
    heard!(bridge, &back, "1", "what the station sends");
    heard!(bridge, &flow, "2", "after that, what is for it");
    bridge.repeat(&[&flow, &back]).map(|()| Meets)
}
