//! Whom the outside sees when many send.

use crate::conformance::prelude::*;

/// Sends a datagram from each of `sources` to `server`, and returns whom the wire there saw, in the same order;
/// `None` where it did not get there.
pub fn seen_from(inside: &Wire, outside: &Wire, sources: &[End], server: End) -> Result<Vec<Option<End>>> {
    for (number, source) in (0_u32..).zip(sources) {
        inside.send(&Packet::udp(*source, server).payload(number.to_be_bytes()))?;
    }
    let mut seen = vec![None; sources.len()];
    for packet in outside.drain()?.iter().filter(|seen| !seen.outgoing && seen.destination() == server) {
        let number =
            packet.payload().first_chunk().map_or(usize::MAX, |bytes| u32::from_be_bytes(*bytes) as usize);
        if let Some(place) = seen.get_mut(number) {
            *place = Some(packet.source());
        }
    }
    Ok(seen)
}
