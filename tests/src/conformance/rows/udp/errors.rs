//! ICMP errors about UDP and TCP.

use std::io::ErrorKind;

use crate::conformance::behaviour::crosses;
use crate::conformance::prelude::*;
use crate::conformance::script::Script;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

pub fn a_closed_port_is_reported(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let outside = bed.out1.wire()?;
    let socket = bed.in1.udp((IN1, 5000))?;
    socket.connect((OUT1, 4242))?;
    socket.send(b"nobody listens there")?;
    outside.expect(|seen| seen.outgoing && seen.icmp() == Some((3, 3)))?;
    let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
    expect!(heard == Err(ErrorKind::ConnectionRefused), "the sender does not hear of it");
    Ok(Meets)
}

pub fn a_router_on_the_way_is_heard(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let sent =
        crosses(&Packet::udp(CLIENT, SERVER), &inside, &outside)?.context("a datagram does not leave")?;
    bed.r2.wire()?.send(&Packet::icmp_error(R2, sent.src(), 3, 1, 0, sent.bytes()))?;
    let error = inside.find_within(Duration::from_secs(1), Seen::is_icmp_error)?;
    expect!(error.is_some(), "an error of a router that is not the destination is not delivered");
    let error = error.context("just looked at")?;
    let quoted = error.quote().map(|quote| (quote.source(), quote.destination()));
    let right = error.src() == R2 && error.dst() == CLIENT.0 && quoted == Some((CLIENT, SERVER));
    expect!(right, "it is delivered as {error}");
    Ok(Meets)
}

/// Every error that there is or was, about `sent`.
fn errors_about(sent: &Seen) -> Vec<Packet> {
    let unreachable = (0..=15).map(|code| (3, code));
    let others = [(4, 0), (5, 0), (5, 1), (11, 0), (11, 1), (12, 0), (12, 1)];
    let error = |(kind, code)| {
        // A redirect names a router, "fragmentation needed" an MTU.
        let rest = match (kind, code) {
            (3, 4) => 1400,
            (5, _) => R2.into(),
            _ => 0,
        };
        Packet::icmp_error(sent.dst(), sent.src(), kind, code, rest, sent.bytes())
    };
    unreachable.chain(others).map(error).collect()
}

pub fn no_error_ends_a_flow(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let sent =
        crosses(&Packet::udp(CLIENT, SERVER), &inside, &outside)?.context("a datagram does not leave")?;
    let mut connection = Script::established(bed, 40000, 80)?;
    let external = connection.external;
    let segment = connection.client_sends(ACK, b"a request")?.context("data does not get through")?;

    for (udp, tcp) in errors_about(&sent).iter().zip(&errors_about(&segment)) {
        outside.send(udp)?;
        outside.send(tcp)?;
        let Body::Icmp { kind, code, .. } = udp.body else { bail!("not an error: {udp:?}") };
        let about = format!("{kind}/{code}");

        let answer = Packet::udp(SERVER, sent.source()).payload(format!("after {about}"));
        let seen = crosses(&answer, &outside, &inside)?;
        expect!(seen.is_some(), "after an error {about} an answer by UDP is not delivered");
        let again = Packet::udp(CLIENT, SERVER).payload(format!("after {about}"));
        let again = crosses(&again, &inside, &outside)?.map(|seen| seen.source());
        expect!(again == Some(sent.source()), "after an error {about} the endpoint is seen as {again:?}");

        let answer = connection.server_sends(ACK, about.as_bytes())?;
        expect!(answer.is_some(), "after an error {about} a segment from outside is not delivered");
        let again = connection.client_sends(ACK, about.as_bytes())?.map(|seen| seen.source());
        expect!(again == Some(external), "after an error {about} a segment is seen from {again:?}");
    }
    Ok(Meets)
}
