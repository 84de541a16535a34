//! The devices that a packet passes in a node, seen there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::node::Node;
use crate::addresses::{SERVER, VM1};
use crate::netns::Namespace;
use crate::wire::Wire;

/// What tells the packet from all others.
const PAYLOAD: &[u8] = b"a packet that is followed";
/// Discard: nobody answers.
const PORT: u16 = 9;

/// Names of devices, in the order in which the packet passed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In the host, until the router.
    pub before: Vec<String>,
    /// In the router's namespace.
    pub router: Vec<String>,
    /// In the host again.
    pub after: Vec<String>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, router, after] =
            [&self.before, &self.router, &self.after].map(|devices| devices.join(" > "));
        write!(f, "{before} > [router: {router}] > {after}")
    }
}

/// Sends a packet from vm1 to the outside and says where it was.
pub fn trace(node: &Node) -> Result<Trace> {
    let socket = node.vm1.udp((VM1, 0))?;
    // Nobody should have to ask for neighbours while the packet is on its way.
    socket.send_to(b"a packet that goes first", (SERVER, PORT))?;
    let outside = Wire::everywhere(&node.out)?;
    let (host, router) = (Wire::everywhere(&node.host)?, Wire::everywhere(&node.router)?);
    socket.send_to(PAYLOAD, (SERVER, PORT))?;
    outside.expect(|seen| seen.payload() == PAYLOAD).context("the packet that is followed")?;
    let router =
        passed(&router, &node.router, PAYLOAD, true)?.into_iter().map(|(device, _)| device).collect();
    let host = passed(&host, &node.host, PAYLOAD, true)?;
    // The router translates: what comes behind it has another source.
    let border = host.iter().position(|(_, source)| *source != VM1).context("it was not translated")?;
    let mut devices: Vec<String> = host.into_iter().map(|(device, _)| device).collect();
    let after = devices.split_off(border);
    ensure!(!devices.is_empty() && !after.is_empty(), "it was seen at {devices:?} and {after:?}");
    Ok(Trace { before: devices, router, after })
}

/// Where the packet with a payload was in a namespace, and its source there. `wire` is everywhere in it; whether the
/// packet is bridged there, has to be known.
pub fn passed(
    wire: &Wire,
    namespace: &Namespace,
    payload: &[u8],
    bridged: bool,
) -> Result<Vec<(String, Ipv4Addr)>> {
    let links = Links::of(namespace)?;
    let mut devices = Vec::new();
    while let Some((index, seen)) = wire.next_anywhere(Duration::from_millis(100))? {
        if seen.payload() != payload {
            continue;
        }
        devices.push((links.name(index)?, seen.src()));
        // A bridge hands packets from port to port, and no socket sees them at the bridge itself.
        if let Some(bridge) = links.masters.get(&index).filter(|_| bridged && !seen.outgoing) {
            devices.push((bridge.clone(), seen.src()));
        }
    }
    Ok(devices)
}

/// Devices by their index.
struct Links {
    names: BTreeMap<u32, String>,
    /// The bridge of each port.
    masters: BTreeMap<u32, String>,
}

impl Links {
    fn of(namespace: &Namespace) -> Result<Self> {
        let text = namespace.cmd("ip").args(["-j", "link", "show"]).output_text()?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        let all = |field: &str| {
            let named = links.iter().filter_map(|link| {
                let index = u32::try_from(link["ifindex"].as_u64()?).ok()?;
                Some((index, link[field].as_str()?.to_owned()))
            });
            named.collect::<BTreeMap<_, _>>()
        };
        Ok(Self { names: all("ifname"), masters: all("master") })
    }

    fn name(&self, index: u32) -> Result<String> {
        self.names.get(&index).cloned().with_context(|| format!("there is no device number {index}"))
    }
}
