//! A bridge that is a gateway, too.

use crate::conformance::bridge::{Bridge, Station};
use crate::conformance::prelude::*;

const GATEWAY: &str = "10.0.0.254";
const STATIONS: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
const UPLINK: &str = "203.0.113.1";
const SERVER: &str = "203.0.113.10";

const QUESTIONS: u64 = 50;

pub fn neighbours_are_bridged_and_the_rest_translated(bridge: &Bridge) -> Result<Outcome> {
    let host = &bridge.host;
    let [one, two, outside] = &bridge.stations;
    host.ip(&format!(
        "link set port3 nomaster\naddr add {UPLINK}/24 dev port3\naddr add {GATEWAY}/24 dev br0"
    ))?;
    host.sysctl("net.ipv4.ip_forward", "1")?;
    // For whatever comes from inside, wherever it goes.
    let rule = ["-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", "-j", "MASQUERADE"];
    host.cmd("iptables").args(rule).run()?;
    for (station, address) in [one, two].into_iter().zip(STATIONS) {
        address_of(station, address)?;
        station.namespace.ip(&format!("route add default via {GATEWAY}"))?;
    }
    address_of(outside, SERVER)?;
    bridge.start()?;

    let neighbour = Reflector::start(&two.namespace, (STATIONS[1], 9))?;
    let server = Reflector::start(&outside.namespace, (SERVER, 9))?;
    let client = one.namespace.udp((STATIONS[0], 5000))?;
    // The first questions ask for neighbours, and begin connections.
    for (reflector, wanted, what) in
        [(&neighbour, STATIONS[0], "a neighbour"), (&server, UPLINK, "a server outside")]
    {
        let ask = || -> Result<Option<String>> {
            let mut seen = reflector.ask(&client, "who am I?")?;
            for _ in 0..QUESTIONS {
                let next = reflector.ask(&client, "and now?")?;
                ensure!(next.port() == seen.port(), "the port changes");
                seen = next;
            }
            let seen = seen.ip().to_string();
            Ok((seen != wanted).then_some(seen))
        };
        if let Some(seen) = ask()? {
            return Ok(Fails(format!("{what} sees {seen} and not {wanted}")));
        }
        let before = bridge.repeated()?;
        if let Some(seen) = ask()? {
            return Ok(Fails(format!("where it is repeated, {what} sees {seen} and not {wanted}")));
        }
        bridge.most_were_repeated(before, 2 * QUESTIONS)?;
    }
    Ok(Meets)
}

/// Gives a station an address, and a device of the usual length.
fn address_of(station: &Station, address: &str) -> Result<()> {
    station.namespace.ip(&format!("link set eth0 mtu 1500\naddr add {address}/24 dev eth0"))
}
