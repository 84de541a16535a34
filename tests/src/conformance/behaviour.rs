//! The behaviour of a translator in the words of RFC 4787, found out packet by packet between silent
//! addresses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use natbpf_common::wire::protocol;
use natbpf_common::wire::segment::{ACK, SYN};

use super::bed::{Bed, Host, SILENT_OUT1, SILENT_OUT2};
use crate::object::{End, Packet};
use crate::wire::Wire;
use crate::wire::seen::Seen;

/// How long a packet that should get through may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is asked first.
const ASKED: End = (SILENT_OUT1, 9);
const OTHER_PORT: End = (SILENT_OUT1, 77);
const OTHER_ADDRESS: End = (SILENT_OUT2, 9);

/// Who reaches an inside endpoint by its external one (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
    /// Another address gets in, but not another port of the address that was asked.
    Odd,
}

impl Filtering {
    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::Odd => "none that has a name",
        }
    }
}

/// The packet that opens a mapping, and what a stranger tries to send through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    /// The first packet of a flow.
    pub fn first(self, source: End, destination: End) -> Packet {
        match self {
            Self::Udp => Packet::udp(source, destination),
            Self::Tcp => Packet::tcp(source, destination, SYN).numbers(1000, 0).payload(b""),
        }
    }

    /// What who was asked says to it.
    pub fn answer(self, source: End, destination: End) -> Packet {
        match self {
            Self::Udp => Packet::udp(source, destination),
            Self::Tcp => Packet::tcp(source, destination, SYN | ACK).numbers(5000, 1001).payload(b""),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Udp => protocol::UDP,
            Self::Tcp => protocol::TCP,
        }
    }
}

/// `packet` as it comes in at `to` when `from` sends it, if it gets through. It is told from others by
/// protocol and payload. Waits a second: where it should not get through, [`Wire::send`] and [`Wire::drain`]
/// are quicker.
pub fn crosses(packet: &Packet, from: &Wire, to: &Wire) -> Result<Option<Seen>> {
    from.send(packet)?;
    let is_it = |seen: &Seen| {
        !seen.outgoing && seen.protocol() == packet.ip.protocol.0 && seen.payload() == packet.payload
    };
    to.find_within(PATIENCE, is_it)
}

/// The external endpoint with which a first packet of `inside` to `destination` leaves the gateway, if it
/// leaves.
pub fn leaves_as(
    uplink: &Wire,
    from: &Wire,
    transport: Transport,
    inside: End,
    destination: End,
) -> Result<Option<End>> {
    from.send(&transport.first(inside, destination))?;
    let is_it = |seen: &Seen| {
        seen.outgoing && seen.protocol() == transport.number() && seen.destination() == destination
    };
    Ok(uplink.find_within(PATIENCE, is_it)?.map(|seen| seen.source()))
}

/// The external endpoints of `inside` towards three destinations: two ports of one address, and another
/// address.
///
/// # Errors
/// When one of the packets does not leave.
pub fn mapping(bed: &Bed, from: &Host, transport: Transport, inside: End) -> Result<[End; 3]> {
    let (uplink, wire) = (bed.uplink()?, from.wire()?);
    let towards = |destination| {
        let left = leaves_as(&uplink, &wire, transport, inside, destination)?;
        left.with_context(|| format!("what {inside:?} sends to {destination:?} does not leave"))
    };
    Ok([towards(ASKED)?, towards(OTHER_PORT)?, towards(OTHER_ADDRESS)?])
}

/// Has `inside`, a silent endpoint behind `host`, ask one endpoint, and finds out who reaches it then.
///
/// # Errors
/// When the answer does not come back: nothing is known then.
pub fn filtering(bed: &Bed, host: &Host, transport: Transport, inside: End) -> Result<Filtering> {
    let (uplink, wire) = (bed.uplink()?, host.wire()?);
    let external = leaves_as(&uplink, &wire, transport, inside, ASKED)?;
    let external = external.with_context(|| format!("what {inside:?} sends does not leave"))?;

    let (out1, out2) = (bed.out1.wire()?, bed.out2.wire()?);
    out1.send(&transport.first(OTHER_PORT, external))?;
    out2.send(&transport.first(OTHER_ADDRESS, external))?;
    out1.send(&transport.answer(ASKED, external))?;
    let mut came = Vec::new();
    let end = Instant::now() + PATIENCE;
    while !came.contains(&ASKED) {
        let next = wire.next(end.saturating_duration_since(Instant::now()))?;
        let seen = next.with_context(|| format!("the answer to {external:?} does not reach {inside:?}"))?;
        came.extend((seen.destination() == inside).then(|| seen.source()));
    }
    // A stranger's packet has come by another way and may be late.
    came.extend(wire.drain()?.iter().filter(|seen| seen.destination() == inside).map(Seen::source));
    Ok(match (came.contains(&OTHER_PORT), came.contains(&OTHER_ADDRESS)) {
        (true, true) => Filtering::EndpointIndependent,
        (true, false) => Filtering::AddressDependent,
        (false, false) => Filtering::AddressAndPortDependent,
        (false, true) => Filtering::Odd,
    })
}
