//! What holds for every protocol, and for those beyond UDP, TCP and ICMP.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

type Make = fn(End, End) -> Packet;

pub fn every_transport_has_one_mapping_for_all(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let (one, two) = (bed.in1.wire()?, bed.in2.wire()?);
    let servers = [(bed.out1.wire()?, (SILENT_OUT1, 9)), (bed.out2.wire()?, (SILENT_OUT2, 9))];
    let protocols: [(&str, Make); 3] = [
        ("UDP", Packet::udp),
        ("TCP", |source, destination| Packet::tcp(source, destination, SYN)),
        ("ICMP", |source, destination| Packet::echo(source.0, destination.0, source.1)),
    ];
    for (name, make) in protocols {
        let seen = |wire: &Wire, source: End, number: usize| -> Result<End> {
            let (outside, server) = &servers[number];
            let packet = make(source, *server).payload([name.as_bytes(), &source.0.octets()].concat());
            wire.send(&packet)?;
            Ok(outside.expect(|seen| !seen.outgoing && seen.payload() == packet.payload)?.source())
        };
        // Another host has the port towards the server that is asked last.
        let other = seen(&two, (SILENT_IN2, 5000), 1)?;
        let ends = [seen(&one, (SILENT_IN1, 5000), 0)?, seen(&one, (SILENT_IN1, 5000), 1)?];
        expect!(ends[0] == ends[1], "by {name} an endpoint is seen as {ends:?}");
        expect!(!ends.contains(&other), "by {name} two endpoints share {other:?}");
    }
    Ok(Meets)
}

pub fn destinations_can_be_left_alone(bed: &Bed) -> Result<Outcome> {
    bed.out2.ip(&format!("route add {INSIDE} via {GW}"))?;
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.except("203.0.113.12/32")))?;
    let one = Reflector::start(&bed.out1, (OUT1, 9))?;
    let two = Reflector::start(&bed.out2, (OUT2, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen = [one.ask(&socket, "translated")?, two.ask(&socket, "as I am")?].map(end);
    expect!(
        seen == [(GW, 5000), (IN1, 5000)],
        "by one that is not excepted and one that is, it is seen as {seen:?}"
    );
    Ok(Meets)
}

pub fn who_was_not_asked_gets_in(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let (inside, one, two) = (bed.in1.wire()?, bed.out1.wire()?, bed.out2.wire()?);
    inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let mapping = one.expect(|seen| seen.destination() == (SILENT_OUT1, 9))?.source();
    two.send(&Packet::udp((SILENT_OUT2, 1234), mapping).payload(b"from a third one"))?;
    let came = inside.find(|seen| seen.payload() == b"from a third one")?;
    let to = came.map(|seen| seen.destination());
    expect!(to == Some((SILENT_IN1, 5000)), "who was not asked does not get in by a mapping");
    Ok(Meets)
}

const DCCP: u8 = 33;

/// A request, or with `kind` 1 the response.
fn dccp(source: End, destination: End, kind: u8) -> Packet {
    let mut bytes = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    // 24 bytes of header, all of them in the checksum, which the builder makes; a long sequence number.
    bytes.extend([6, 0, 0, 0, kind << 1 | 1, 0, 0, 0, 0, 0, 0, 42]);
    bytes.extend([0; 8]);
    Packet::other(DCCP, source.0, destination.0).payload(bytes)
}

pub fn dccp_does_not_leak(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (one, two) = (bed.in1.wire()?, bed.in2.wire()?);
    let (outside, uplink) = (bed.out1.wire()?, bed.uplink()?);
    let server = (SILENT_OUT1, 5001);
    one.send(&dccp((SILENT_IN1, 5000), server, 0))?;
    let request = outside.find(|seen| seen.protocol() == DCCP)?;
    let Some(request) = request else { return Ok(Partly("it is dropped".into())) };
    expect!(request.src() == GW, "it leaves as {request}");
    let right =
        Packet::other(DCCP, GW, SILENT_OUT1).payload(request.body()).ip_bytes()[20..] == *request.body();
    expect!(right, "it leaves with a wrong checksum");
    let port = u16::from_be_bytes([request.body()[0], request.body()[1]]);
    outside.send(&dccp(server, (GW, port), 1))?;
    let response = one.find(|seen| !seen.outgoing && seen.protocol() == DCCP && seen.dst() == SILENT_IN1)?;
    expect!(response.is_some(), "the response does not get in");

    two.send(&dccp((SILENT_IN2, 6000), server, 0))?;
    let second = outside.find(|seen| !seen.outgoing && seen.protocol() == DCCP)?;
    let leak = uplink.drain()?.into_iter().find(|seen| seen.outgoing && seen.src() != GW);
    expect!(leak.is_none(), "there leaves {leak:?}");
    if second.is_none() {
        return Ok(Partly(
            "translated by address; a second host that talks to the same server is refused".into(),
        ));
    }
    Ok(Meets)
}

pub fn timers_are_those_of_nat64(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    server.ask(&socket, "hello")?;
    let mut script = Script::established(bed, 40000, 80)?;
    script.inside.send(&Packet::echo(SILENT_IN1, SILENT_OUT1, 77))?;
    script.outside.expect(|seen| seen.icmp() == Some((8, 0)))?;
    // What it was a moment ago: all of them are multiples of ten.
    let timer =
        |protocol, source| -> Result<u32> { Ok(nat.remaining(protocol, source)?.next_multiple_of(10)) };
    let mut timers = vec![
        ("UDP", 300, timer("udp", (IN1, 5000))?),
        ("established TCP", 7440, timer("tcp", (SILENT_IN1, 40000))?),
        ("ICMP", 60, timer("icmp", (SILENT_IN1, 77))?),
    ];
    script.client_sends(FIN | ACK, b"")?.context("the FIN did not get out")?;
    script.server_sends(FIN | ACK, b"")?.context("the FIN did not get in")?;
    script.client_sends(ACK, b"")?.context("the last ACK did not get out")?;
    timers.push(("closing TCP", 240, timer("tcp", (SILENT_IN1, 40000))?));
    let other = timers.iter().filter(|(_, asked, found)| asked != found);
    let other: Vec<_> = other.map(|(name, asked, found)| format!("{name} {found} (not {asked})")).collect();
    expect!(other.is_empty(), "in seconds: {}", other.join(", "));
    Ok(Meets)
}
