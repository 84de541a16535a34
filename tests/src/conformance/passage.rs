//! Packets that may come through the gateway or not. Behind them goes one that surely does, so that nobody waits for
//! what does not come.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bed::{Bed, SILENT_IN1, SILENT_IN2, SILENT_OUT1};
use crate::object::{End, Packet};
use crate::wire::Wire;
use crate::wire::seen::Seen;

const INSIDE_END: End = (SILENT_IN1, 4000);
const OUTSIDE_END: End = (SILENT_OUT1, 4000);
/// What the packet behind the others says.
const LAST: &[u8] = b"the last of these packets";
const LIMIT: Duration = Duration::from_secs(2);
/// How much later a packet may be than one that was sent after it: another processor had it.
const OVERTAKEN: Duration = Duration::from_millis(20);

/// The way through the gateway, between the devices of `in1` and `out1`, whose silent addresses packets should use.
#[derive(Debug)]
pub struct Passage {
    /// At `in1`.
    pub inside: Wire,
    /// At `in2`.
    pub neighbour: Wire,
    /// At `out1`.
    pub outside: Wire,
    /// Where packets leave the gateway.
    pub uplink: Wire,
    /// Whom the outside takes for [`INSIDE_END`].
    external: End,
}

impl Passage {
    /// The translator is at work already.
    ///
    /// # Errors
    /// When an ordinary packet does not get through.
    pub fn new(bed: &Bed) -> Result<Self> {
        let (inside, neighbour) = (bed.in1.wire()?, bed.in2.wire()?);
        let (outside, uplink) = (bed.out1.wire()?, bed.uplink()?);
        let mut passage = Self { inside, neighbour, outside, uplink, external: INSIDE_END };
        let first = Packet::udp(INSIDE_END, OUTSIDE_END).payload(b"the first packet");
        passage.external = passage.leaves(&first)?.source();
        Ok(passage)
    }

    /// Sends a packet from inside that has to get through, and returns it as the uplink showed it.
    pub fn leaves(&self, packet: &Packet) -> Result<Seen> {
        self.inside.send(packet)?;
        self.appears(packet)
    }

    /// As [`Passage::leaves`], after the neighbour has sent the same from [`SILENT_IN2`]: port and identifier are
    /// taken, so that the translator has to find others.
    pub fn leaves_by_another_port(&self, packet: &Packet) -> Result<Seen> {
        let first = packet.clone().with_source((SILENT_IN2, packet.source().1));
        self.neighbour.send(&first)?;
        self.appears(&first)?;
        self.leaves(packet)
    }

    fn appears(&self, packet: &Packet) -> Result<Seen> {
        let is_it = |seen: &Seen| {
            seen.outgoing
                && seen.dst() == packet.destination().0
                && seen.protocol() == packet.ip.protocol.0
                && seen.payload() == packet.payload
        };
        self.uplink.expect(is_it)
    }

    /// Sends these packets from inside and returns what left by the uplink meanwhile.
    pub fn outward(&self, packets: &[Vec<u8>]) -> Result<Vec<Seen>> {
        packets.iter().try_for_each(|packet| self.inside.send_ip(packet))?;
        self.left()
    }

    /// What has left by the uplink since the last call.
    pub fn left(&self) -> Result<Vec<Seen>> {
        self.inside.send(&Packet::udp(INSIDE_END, OUTSIDE_END).payload(LAST))?;
        until_last(&self.uplink, true)
    }

    /// Sends these packets from outside and returns what arrived at `in1` meanwhile.
    pub fn inward(&self, packets: &[Vec<u8>]) -> Result<Vec<Seen>> {
        packets.iter().try_for_each(|packet| self.outside.send_ip(packet))?;
        self.arrived()
    }

    /// What has arrived at `in1` since the last call.
    pub fn arrived(&self) -> Result<Vec<Seen>> {
        self.outside.send(&Packet::udp(OUTSIDE_END, self.external).payload(LAST))?;
        until_last(&self.inside, false)
    }
}

/// All that has passed in one direction, without the packet behind it.
fn until_last(wire: &Wire, outgoing: bool) -> Result<Vec<Seen>> {
    let mut passed = Vec::new();
    loop {
        let next = wire.next(LIMIT)?.context("an ordinary packet does not get through any more")?;
        if next.payload() == LAST && next.outgoing == outgoing {
            break;
        }
        passed.push(next);
    }
    passed.extend(wire.drain_for(OVERTAKEN)?);
    passed.retain(|seen| seen.outgoing == outgoing);
    Ok(passed)
}
