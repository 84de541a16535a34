//! Between inside hosts by their external addresses.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

/// How long a packet may be on its way that may not come at all.
const LIMIT: Duration = Duration::from_secs(1);

pub fn errors_come_back(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let external = bed.udp_mapping(&bed.in2, 6000, &server)?;
    let arrives = bed.in2.wire()?;
    // Nobody listens at 10.0.0.12:6000 any more.
    let socket = bed.in1.udp((IN1, 5000))?;
    socket.connect(external)?;
    socket.send(b"nobody listens there")?;
    let packet = arrives.find_within(LIMIT, |seen| !seen.outgoing && seen.destination() == (IN2, 6000))?;
    expect!(packet.is_some(), "a packet to the external address does not arrive");
    let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
    expect!(heard == Err(ErrorKind::ConnectionRefused), "the sender does not hear of a closed port");
    Ok(Meets)
}

pub fn an_error_goes_to_whom_it_quotes(bed: &Bed) -> Result<Outcome> {
    let (client, target) = ((SILENT_IN1, 5000), (SILENT_IN2, 6000));
    let _nat = bed.translate(&Setup::rfc())?;
    let passage = Passage::new(bed)?;
    let first = Packet::udp(target, (SILENT_OUT1, 9)).payload(b"where am I?");
    passage.neighbour.send(&first)?;
    let external = passage.uplink.expect(|seen| seen.outgoing && seen.payload() == first.payload)?.source();

    passage.inside.send(&Packet::udp(client, external).payload(b"hairpin"))?;
    let is_it = |seen: &Seen| !seen.outgoing && seen.destination() == target;
    let Some(packet) = passage.neighbour.find_within(LIMIT, is_it)? else {
        return Ok(Fails("a packet to the external address does not arrive".into()));
    };
    let error = Packet::icmp_error(SILENT_IN2, packet.src(), 3, 3, 0, packet.bytes());
    passage.neighbour.send(&error)?;
    let is_it = |seen: &Seen| !seen.outgoing && seen.icmp() == Some((3, 3));
    let Some(error) = passage.inside.find_within(LIMIT, is_it)? else {
        return Ok(Fails("the error does not arrive".into()));
    };
    let quote = error.quote().context("the error quotes nothing")?;
    expect!(error.dst() == quote.src(), "the error to {} quotes a packet of {}", error.dst(), quote.src());
    expect!(
        (quote.source(), quote.destination()) == (client, external),
        "the quoted packet is not the one that was sent: {error}"
    );
    expect!(error.src() == external.0, "the error shows the host behind the address: {error}");
    expect!(error.sums_are_right() && quote.sums_are_right(), "a checksum is wrong: {error}");
    Ok(Meets)
}

pub fn queries_between_floating_addresses(bed: &Bed) -> Result<Outcome> {
    let floating = [(51, IN1), (52, IN2)].map(|(last, to)| (Ipv4Addr::new(203, 0, 113, last), to));
    let setup = floating.iter().fold(Setup::default(), |setup, (address, to)| {
        setup.floating(Floating::new("wan", *address, *to).hairpin())
    });
    let _nat = bed.translate(&setup)?;
    for (host, (address, _)) in [(&bed.in1, floating[1]), (&bed.in2, floating[0])] {
        let result = ping(host, address, "-c 5")?;
        expect!(
            result.received == result.sent,
            "of {} pings of {} to {address} {} come back",
            result.sent,
            host.address,
            result.received
        );
    }
    Ok(Meets)
}
