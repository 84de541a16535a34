//! What goes to more ports than one, and what to none.

use crate::conformance::bridge::{Bridge, Flow, NOWHERE};
use crate::conformance::prelude::*;
use crate::netns::link::{Link, colons};

/// A second machine behind port 1.
const BESIDE_ONE: Link = [2, 0, 0, 0, 2, 1];

const GROUP: Link = [1, 0, 0x5e, 1, 2, 3];

pub fn what_has_no_port_goes_to_all_others_that_forward(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    let (broadcast, group) = (Flow::to_all(one), flow.clone().to(GROUP));
    bridge.repeat(&[&flow, &back])?;
    heard!(bridge, &broadcast, "2, 3", "a broadcast");
    heard!(bridge, &group, "2, 3", "a packet to a group that nobody has joined");
    heard!(bridge, &flow, "2", "between them, what is for station 2");

    bridge.bridge(&format!("fdb del {} dev port2 master", colons(two.link)))?;
    heard!(bridge, &flow, "2, 3", "after station 2 was taken out of the table, what is for it");
    heard!(bridge, &back, "1", "what it sends");
    heard!(bridge, &flow, "2", "after it has spoken, what is for it");

    bridge.repeat(&[&flow, &back])?;
    bridge.bridge("link set dev port2 state 0")?;
    heard!(bridge, &flow, NOWHERE, "what is for a station behind a port that is disabled");
    heard!(bridge, &back, NOWHERE, "what a station sends behind a port that is disabled");
    heard!(bridge, &broadcast, "3", "with port 2 disabled a broadcast");
    bridge.bridge("link set dev port2 state 3")?;
    heard!(bridge, &back, "1", "what station 2 sends when its port forwards again");
    heard!(bridge, &flow, "2", "what is for station 2 when its port forwards again");
    heard!(bridge, &broadcast, "2, 3", "with all ports forwarding again a broadcast");
    Ok(Meets)
}

pub fn nothing_goes_back_unless_the_port_is_a_hairpin(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    Flow::to_all(one).from(BESIDE_ONE).send()?;
    // The same packets as those that are repeated, but for the machine that they are for.
    let flow = Flow::new(one, two);
    let (beside, broadcast) = (flow.clone().to(BESIDE_ONE), Flow::to_all(one));
    bridge.repeat(&[&flow])?;
    for _ in 0..3 {
        heard!(bridge, &beside, NOWHERE, "what is for a machine behind the same port");
        heard!(bridge, &broadcast, "2, 3", "a broadcast");
        heard!(bridge, &flow, "2", "what is for station 2");
    }
    bridge.bridge("link set dev port1 hairpin on")?;
    heard!(bridge, &broadcast, "1, 2, 3", "with a hairpin a broadcast");
    bridge.repeat(&[&beside])?;
    heard!(bridge, &beside, "1", "with a hairpin, what is for a machine behind the same port");
    bridge.bridge("link set dev port1 hairpin off")?;
    heard!(bridge, &beside, NOWHERE, "with the hairpin gone, what is for a machine behind the same port");
    heard!(bridge, &broadcast, "2, 3", "with the hairpin gone a broadcast");
    Ok(Meets)
}
