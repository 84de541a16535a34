//! What is wrong between two machines of one network: devices, and ports of bridges.

use std::{collections::VecDeque, net::IpAddr};

use crate::{
    doctor::{Found, Stage},
    facts::{Device, Host, Place, PortState},
};

/// A cause that was found, by a name and where on the way it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub name: &'static str,
    pub stage: Stage,
    pub found: Found,
}

type At<'a> = (&'a Place, &'a Device);

/// The first trouble on the way from a device to whoever has an address, by bridges and pairs; where nobody has it,
/// that of the ports that lead out of the host.
pub fn between(host: &Host, start: At<'_>, target: IpAddr) -> Option<Trouble> {
    let ways = reached(host, start);
    let has =
        |(place, device): &At<'_>| place.addresses_of(device).any(|address| address.net.addr() == target);
    if let Some(end) = ways.iter().position(|way| has(&way.at)) {
        let mut path = vec![end];
        while let Some(before) = ways[path[path.len() - 1]].before {
            path.push(before);
        }
        let path: Vec<At<'_>> = path.iter().rev().map(|place| ways[*place].at).collect();
        return on_path(&path);
    }
    let outward = ways.iter().map(|way| way.at).filter(|(_, device)| is_outward(device));
    outward.into_iter().find_map(of_device)
}

/// Whether what is behind a port is another machine, not an instance.
fn is_outward(device: &Device) -> bool {
    device.bridge.is_none() && !device.is("tun") && !(device.is("veth") && device.leads_to.is_none())
}

#[derive(Clone, Copy)]
struct Way<'a> {
    at: At<'a>,
    /// Where it was reached from, as a number of the list.
    before: Option<usize>,
}

/// Everything that frames of a device could reach if all ports passed them, near ones first.
fn reached<'a>(host: &'a Host, start: At<'a>) -> Vec<Way<'a>> {
    let mut ways = vec![Way { at: start, before: None }];
    let mut next = VecDeque::from([0]);
    while let Some(number) = next.pop_front() {
        let (place, device) = ways[number].at;
        let mut near: Vec<At<'a>> = Vec::new();
        if device.bridge.is_some() {
            near.extend(place.ports(device).map(|port| (place, port)));
        }
        near.extend(device.master.and_then(|master| place.device(master)).map(|master| (place, master)));
        if device.is("veth") {
            near.extend(host.peer(place, device));
        }
        for at in near {
            let same = |way: &Way<'_>| (way.at.0.cookie, way.at.1.index) == (at.0.cookie, at.1.index);
            if !ways.iter().any(same) {
                next.push_back(ways.len());
                ways.push(Way { at, before: Some(number) });
            }
        }
    }
    ways
}

fn on_path(path: &[At<'_>]) -> Option<Trouble> {
    // The other end of one that is down has no carrier.
    let down = path.iter().copied().find(|(_, device)| !device.up);
    down.and_then(of_device).or_else(|| path.iter().copied().find_map(of_device)).or_else(|| {
        path.windows(3).find_map(|three| {
            let [(place, from), (_, bridge), (_, to)] = three else { return None };
            vlan(place, from, bridge, to)
        })
    })
}

/// What a device or a port does not let pass.
pub fn of_device((place, device): At<'_>) -> Option<Trouble> {
    let name = &device.name;
    let command = |text: &str| format!("ip -d link show {name}: {text}");
    if !device.up {
        let sentence = format!("{name}{} is down, so nothing passes it", place.within());
        let found = Found::new(place, name, sentence)
            .seen(place.typed(&format!("ip link show {name}")), "not UP")
            .mend(place, format!("ip link set {name} up"));
        return Some(Trouble { name: "link-down", stage: Stage::Link, found });
    }
    if !device.carrier {
        let sentence = format!("{name}{} has no carrier: the other end is down or unplugged", place.within());
        let found = Found::new(place, name, sentence)
            .seen(place.typed(&format!("ip link show {name}")), "NO-CARRIER")
            .mend(place, format!("ethtool {name}"));
        return Some(Trouble { name: "no-carrier", stage: Stage::Link, found });
    }
    let port = device.port.as_ref().filter(|port| port.state != PortState::Forwarding)?;
    let state = port.state.name();
    let sentence = format!("the port {name}{} passes nothing on: its state is {state}", place.within());
    let found = Found::new(place, name, sentence)
        .seen(place.typed("bridge -d link show"), command(&format!("state {state}")))
        .mend(place, format!("bridge link set dev {name} state 3"));
    Some(Trouble { name: "port-blocked", stage: Stage::Bridge, found })
}

/// Whether a bridge keeps what comes by one port from another one.
fn vlan(place: &Place, from: &Device, bridge: &Device, to: &Device) -> Option<Trouble> {
    bridge.bridge.as_ref().filter(|bridge| bridge.vlan_filtering)?;
    // The bridge's own device is a port, too.
    let vlans = |device: &Device| match (&device.port, &device.bridge) {
        (Some(port), _) => Some(port.vlans.clone()),
        (None, Some(bridge)) => Some(bridge.vlans.clone()),
        _ => None,
    };
    let own = vlans(from)?.into_iter().find(|vlan| vlan.pvid).map(|vlan| vlan.id);
    let said = format!("bridge {} has vlan_filtering 1", bridge.name);
    let Some(own) = own else {
        let name = &from.name;
        let sentence = format!(
            "{}{} drops what comes by {name} without a tag: the port has no PVID",
            bridge.name,
            place.within()
        );
        let found = Found::new(place, name, sentence)
            .seen(place.typed("bridge vlan show"), said)
            .mend(place, format!("bridge vlan add dev {name} vid VLAN pvid untagged"));
        return Some(Trouble { name: "vlan-not-allowed", stage: Stage::Bridge, found });
    };
    if vlans(to)?.iter().any(|vlan| vlan.id == own) {
        return None;
    }
    let name = &to.name;
    let of_itself = if to.bridge.is_some() { " self" } else { "" };
    let sentence = format!(
        "{}{} does not pass frames of {} on to {name}: VLAN {own} is not allowed there",
        bridge.name,
        place.within(),
        from.name
    );
    let found = Found::new(place, name, sentence)
        .seen(place.typed("bridge vlan show"), said)
        .mend(place, format!("bridge vlan add dev {name} vid {own} pvid untagged{of_itself}"));
    Some(Trouble { name: "vlan-not-allowed", stage: Stage::Bridge, found })
}

/// Ports of a bridge, and the bridge, that do not pass on what has come by one of its ports.
pub fn of_bridge(host: &Host, (place, port): At<'_>, target: Option<IpAddr>) -> Option<Trouble> {
    if let Some(trouble) = target.and_then(|target| between(host, (place, port), target)) {
        return Some(trouble);
    }
    let bridge = place.device(port.master?)?;
    place.ports(bridge).find_map(|port| of_device((place, port)))
}
