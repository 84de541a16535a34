//! Identifications of fragments, and echo requests that come round.

use std::collections::BTreeSet;

use crate::conformance::behaviour::crosses;
use crate::conformance::fragments::fragments;
use crate::conformance::prelude::*;

/// Two hosts whose datagrams have one identification, their fragments interleaved. They are too long for one
/// packet, so that a gateway that puts them together has to take them apart again.
pub fn fragments_of_two_hosts_are_not_mixed_up(bed: &Bed) -> Result<Outcome> {
    const ID: u16 = 0x1234;
    let _nat = bed.translate(&Setup::default())?;
    let wires = [bed.in1.wire()?, bed.in2.wire()?];
    let outside = bed.out1.wire()?;
    let server = bed.out1.udp((OUT1, 9))?;
    let texts = ["a", "b"].map(|letter| letter.repeat(1990));
    let datagrams = [(SILENT_IN1, &texts[0]), (SILENT_IN2, &texts[1])];
    let datagrams = datagrams.map(|(host, text)| {
        fragments(&Packet::udp((host, 5000), (OUT1, 9)).id(ID).payload(text.as_bytes()), 1000)
    });
    for number in 0..2 {
        for (wire, pieces) in wires.iter().zip(&datagrams) {
            wire.send(&pieces[number])?;
        }
    }
    let mut received = BTreeSet::new();
    let mut buffer = [0; 2048];
    while received.len() < 2 {
        let Ok(length) = server.recv(&mut buffer) else { break };
        received.insert(str::from_utf8(&buffer[..length])?.to_owned());
    }
    expect!(received == texts.into(), "of two datagrams {} arrive", received.len());
    let pieces = outside.drain()?;
    let pieces = pieces
        .iter()
        .filter(|seen| seen.dst() == OUT1 && (seen.more_fragments() || seen.fragment_offset() > 0));
    let ids = pieces.map(Seen::id).collect::<BTreeSet<_>>();
    ensure!(!ids.is_empty(), "no fragment has arrived");
    Ok(match ids.len() {
        1 => Partly(
            "both arrive, since the one leaves after the other, but with one identification".to_owned(),
        ),
        _ => Meets,
    })
}

/// An echo request to the external address, with an identifier that is another inside host's there.
pub fn an_echo_request_comes_round(bed: &Bed) -> Result<Outcome> {
    const ID: u16 = 77;
    let _nat = bed.translate(&Setup::rfc())?;
    let [one, two] = [bed.in1.wire()?, bed.in2.wire()?];
    let (outside, uplink) = (bed.out1.wire()?, bed.uplink()?);
    let first = Packet::echo(SILENT_IN2, SILENT_OUT1, ID).payload("to the outside");
    let external = crosses(&first, &two, &outside)?.context("an echo request does not leave")?.source();
    uplink.drain()?;

    one.send(&Packet::echo(SILENT_IN1, external.0, external.1).payload("round the corner"))?;
    let is_it = |seen: &&Seen| seen.payload() == b"round the corner";
    let (arrived, back) = (two.drain()?, one.drain()?);
    let replies = back.iter().filter(is_it).filter(|seen| seen.icmp() == Some((0, 0))).count();
    let strays = uplink.drain()?.iter().filter(is_it).count();
    expect!(
        strays == 0 && replies <= 1,
        "{replies} replies come back, and {strays} packets are at the uplink"
    );
    let Some(request) = arrived.iter().filter(is_it).find(|seen| seen.dst() == SILENT_IN2) else {
        let who = if replies == 1 { "the gateway answers by itself" } else { "nobody answers" };
        return Ok(Partly(format!("it is not hairpinned, and does not go in circles: {who}")));
    };
    expect!(request.src() == GW && request.icmp() == Some((8, 0)), "the other host gets {request}");
    let mut reply = Packet::echo(SILENT_IN2, request.src(), request.source().1).payload("and back");
    if let Body::Icmp { kind, .. } = &mut reply.body {
        *kind = 0;
    }
    let seen = crosses(&reply, &two, &one)?.map(|seen| seen.src());
    expect!(seen == Some(external.0), "the reply comes back from {seen:?}");
    Ok(Meets)
}
