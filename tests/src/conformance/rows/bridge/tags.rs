//! What ports make of tags: as Open vSwitch names it, and tags within tags.

use super::filtering::{filters, unavailable};
use crate::conformance::bridge::{Bridge, Flow, NOWHERE, PROVIDER};
use crate::conformance::prelude::*;

pub fn a_tag_at_an_access_port(bridge: &Bridge) -> Result<Outcome> {
    if !filters(bridge, &["port1 vid 10 pvid untagged", "port2 vid 10"])? {
        return Ok(unavailable());
    }
    let [one, two, _] = &bridge.stations;
    Flow::to_all(two).tagged(10).send()?;
    let flow = Flow::new(one, two);
    bridge.repeat(&[&flow])?;
    heard!(bridge, &flow, "2 with 10", "a frame without a tag");
    heard!(bridge, &flow.clone().tagged(20), NOWHERE, "a frame of another VLAN");
    let heard = bridge.hear(&flow.tagged(10))?;
    expect!(heard == NOWHERE, "a frame with the port's own VLAN as its tag is taken, and heard at {heard}");
    Ok(Meets)
}

pub fn a_tag_within_a_tag_stays(bridge: &Bridge) -> Result<Outcome> {
    if !filters(bridge, &["port1 vid 100 pvid untagged", "port2 vid 100"])? {
        return Ok(unavailable());
    }
    bridge.host.ip("link set br0 type bridge vlan_protocol 802.1ad")?;
    let [one, two, _] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one).within(PROVIDER, 100));
    let inner = flow.clone().tagged(42);
    let inner_back = Flow::new(two, one).tagged(42).within(PROVIDER, 100);
    heard!(bridge, &back, "1", "a frame with a provider's tag");
    bridge.repeat(&[&flow, &back])?;
    for _ in 0..3 {
        heard!(bridge, &flow, "2 with s100", "a frame without a tag");
        heard!(bridge, &inner, "2 with s100+42", "a frame with a customer's tag");
        heard!(bridge, &inner_back, "1 with 42", "a frame with both tags");
    }
    heard!(bridge, &Flow::new(two, one).tagged(100), NOWHERE, "a customer's tag of the provider's VLAN");
    bridge.host.ip("link set br0 type bridge vlan_protocol 802.1Q")?;
    heard!(bridge, &flow, "2 with 100", "on a customer's bridge a frame without a tag");
    heard!(bridge, &flow.within(PROVIDER, 42), "2 with 100+s42", "on a customer's bridge a provider's tag");
    heard!(bridge, &back, NOWHERE, "on a customer's bridge a provider's tag at a trunk");
    Ok(Meets)
}

/// A mode of a port with `tag=10` and `trunks=20`, by `bridge vlan`.
struct Mode {
    name: &'static str,
    vlans: &'static [&'static str],
    /// Who hears what comes by the port: without a tag, of VLAN 20, of VLAN 30.
    comes: [&'static str; 3],
    /// How the station hears what leaves by it: of VLAN 10, 20, 30.
    leaves: [&'static str; 3],
}

const MODES: [Mode; 4] = [
    Mode {
        name: "access",
        vlans: &["vid 10 pvid untagged"],
        comes: ["2 with 10", NOWHERE, NOWHERE],
        leaves: ["1", NOWHERE, NOWHERE],
    },
    Mode {
        name: "trunk",
        vlans: &["vid 20"],
        comes: [NOWHERE, "2 with 20", NOWHERE],
        leaves: [NOWHERE, "1 with 20", NOWHERE],
    },
    Mode {
        name: "native-tagged",
        vlans: &["vid 10 pvid", "vid 20"],
        comes: ["2 with 10", "2 with 20", NOWHERE],
        leaves: ["1 with 10", "1 with 20", NOWHERE],
    },
    Mode {
        name: "native-untagged",
        vlans: &["vid 10 pvid untagged", "vid 20"],
        comes: ["2 with 10", "2 with 20", NOWHERE],
        leaves: ["1", "1 with 20", NOWHERE],
    },
];

pub fn the_modes_of_a_port(bridge: &Bridge) -> Result<Outcome> {
    if !filters(bridge, &["port2 vid 10", "port2 vid 20", "port2 vid 30"])? {
        return Ok(unavailable());
    }
    let [one, two, _] = &bridge.stations;
    let out = Flow::new(one, two);
    let out = [out.clone(), out.clone().tagged(20), out.tagged(30)];
    let back = [10, 20, 30].map(|vlan| Flow::new(two, one).tagged(vlan));
    for Mode { name, vlans, comes, leaves } in MODES {
        let _ = [10, 20].map(|vlan| bridge.bridge(&format!("vlan del dev port1 vid {vlan}")));
        for vlan in vlans {
            bridge.bridge(&format!("vlan add dev port1 {vlan}"))?;
        }
        for (flow, wanted) in out.iter().zip(comes).chain(back.iter().zip(leaves)) {
            heard!(bridge, flow, wanted, "in the mode {name} one of the frames");
            if wanted != NOWHERE {
                bridge.repeat(&[flow])?;
            }
        }
    }
    Ok(Partly("each mode is there by `bridge vlan`; ovs-vsctl's words are Open vSwitch's alone".into()))
}
