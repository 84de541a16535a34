//! The devices that a packet passes on a host, as sockets there see it.

use anyhow::{Result, ensure};

use super::datagrams::Datagrams;
use super::host::Host;
use super::streams::Stream;
use crate::topology::trace::passed;
use crate::wire::Wire;

const PAYLOAD: &[u8] = b"a packet that is followed";

/// The host's devices on the way of a stream, namespace by namespace, and how many they are; `None` where its client
/// has no socket of ours.
pub fn devices(host: &dyn Host, stream: &Stream<'_>) -> Result<Option<String>> {
    let Some(datagrams) = Datagrams::of(stream)? else { return Ok(None) };
    datagrams.run()?;
    let places = [host.network()].into_iter().chain(host.routers());
    let wires: Vec<_> = places.map(|place| Ok((place, Wire::everywhere(place)?))).collect::<Result<_>>()?;
    let before = host.repeated();
    ensure!(datagrams.arrives(PAYLOAD)?, "the packet that is followed did not arrive");
    // No socket sees a packet at a bridge that it only crosses; one that is repeated crosses none.
    let bridged = host.repeated() == before;
    let mut places = Vec::new();
    let mut count = 0;
    for (namespace, wire) in wires {
        let devices = passed(&wire, namespace, PAYLOAD, bridged)?;
        let mut names: Vec<_> = devices.into_iter().map(|(name, _)| name).collect();
        // One that is both a port's bridge and a router's device is seen twice.
        names.dedup();
        count += names.len();
        if !names.is_empty() {
            places.push(format!("{}: {}", namespace.name(), names.join(" > ")));
        }
    }
    Ok(Some(format!("{count} ({})", places.join("; "))))
}
