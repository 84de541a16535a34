//! What iproute2 shows of a bridge.

use super::filtering::{filters, unavailable};
use crate::conformance::bridge::{Bridge, Flow};
use crate::conformance::prelude::*;

const ADDED: [&str; 4] = [
    "02:00:00:00:04:01 dev port1 master static",
    "02:00:00:00:04:02 dev port1 master static sticky",
    "02:00:00:00:04:03 dev port2 master extern_learn",
    "02:00:00:00:04:04 dev port3 master permanent",
];

/// With the three stations, the bridge and its ports.
const SHOWN: [&str; 11] = [
    "02:00:00:00:00:01 dev port1 master br0",
    "02:00:00:00:00:02 dev port2 master br0",
    "02:00:00:00:00:03 dev port3 master br0",
    "02:00:00:00:01:00 dev br0 master br0 permanent",
    "02:00:00:00:01:01 dev port1 master br0 permanent",
    "02:00:00:00:01:02 dev port2 master br0 permanent",
    "02:00:00:00:01:03 dev port3 master br0 permanent",
    "02:00:00:00:04:01 dev port1 master br0 static",
    "02:00:00:00:04:02 dev port1 sticky master br0 static",
    "02:00:00:00:04:03 dev port2 extern_learn master br0",
    "02:00:00:00:04:04 dev port3 master br0 permanent",
];

pub fn the_table_as_bridge_fdb_shows_it(bridge: &Bridge) -> Result<Outcome> {
    for entry in ADDED {
        bridge.bridge(&format!("fdb add {entry}"))?;
    }
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    bridge.repeat(&[&Flow::new(one, two), &Flow::new(two, one)])?;
    let mut shown = bridge.table()?;
    shown.sort();
    let other = shown.iter().map(String::as_str).zip(SHOWN).find(|(line, wanted)| line != wanted);
    if let Some((line, wanted)) = other {
        return Ok(Fails(format!("it has `{line}` and not `{wanted}`")));
    }
    expect!(shown.len() == SHOWN.len(), "it has {} lines and not {}", shown.len(), SHOWN.len());
    Ok(Meets)
}

pub fn the_vlans_as_bridge_vlan_shows_them(bridge: &Bridge) -> Result<Outcome> {
    let vlans = ["port1 vid 10 pvid untagged", "port1 vid 20", "port2 vid 10", "port3 vid 20 untagged"];
    if !filters(bridge, &vlans)? {
        return Ok(unavailable());
    }
    let [one, two, _] = &bridge.stations;
    Flow::to_all(two).tagged(10).send()?;
    bridge.repeat(&[&Flow::new(one, two)])?;
    let shown = vlan_lines(bridge)?;
    let wanted = ["port1 10 PVID Egress Untagged", "port1 20", "port2 10", "port3 20 Egress Untagged"];
    expect!(shown == wanted, "it has {shown:?}");
    Ok(Meets)
}

/// What `bridge vlan show` has, each line with its port, which it names once, and with single spaces.
pub fn vlan_lines(bridge: &Bridge) -> Result<Vec<String>> {
    let text = bridge.bridge("vlan show")?;
    let (mut port, mut lines) = ("", Vec::new());
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        if !line.starts_with(char::is_whitespace) {
            port = words.next().unwrap_or_default();
        }
        let words: Vec<_> = [port].into_iter().chain(words).collect();
        // A port without VLANs is named, too.
        if words.len() > 1 {
            lines.push(words.join(" "));
        }
    }
    Ok(lines)
}
