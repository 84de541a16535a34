//! Which external endpoint a TCP endpoint gets, and who reaches it from inside.

use std::collections::BTreeSet;

use crate::conformance::behaviour::{Transport, leaves_as};
use crate::conformance::prelude::*;
use crate::conformance::script::Script;
use crate::conformance::tcp::{Server, connect, echoes, mapping, whom_it_saw};

pub fn one_port_for_every_destination(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let destinations = [(OUT1, 80), (OUT1, 81), (OUT2, 80)];
    let servers = [Server::start(&bed.out1, destinations[0])?, Server::start(&bed.out1, destinations[1])?];
    let other = Server::start(&bed.out2, destinations[2])?;
    let seen = |port| -> Result<BTreeSet<_>> {
        destinations.iter().map(|destination| mapping(&bed.in1, port, *destination)).collect()
    };
    let free = seen(40000)?;
    expect!(free.len() == 1, "with no other host there an endpoint is seen as {}", free.len());

    // Another host has the port already, towards the server that is asked last.
    mapping(&bed.in2, 41000, destinations[2])?;
    let clash = seen(41000)?.len();
    drop((servers, other));
    expect!(clash == 1, "where another host has the port towards one server, an endpoint is seen as {clash}");
    Ok(Meets)
}

pub fn two_endpoints_share_no_port(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let _server = Server::start(&bed.out1, (OUT1, 80))?;
    let mut one = connect(&bed.in1, 40000, (OUT1, 80))?;
    let mut two = connect(&bed.in2, 40000, (OUT1, 80))?;
    let seen = [whom_it_saw(&mut one)?, whom_it_saw(&mut two)?];
    expect!(seen[0] != seen[1], "both are seen as {}", seen[0]);
    let both = echoes(&mut one, b"the first of two") && echoes(&mut two, b"the second one");
    expect!(both, "one of two connections from the same port does not get its data back");
    Ok(Meets)
}

pub fn a_connection_comes_round(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let (one, two, uplink) = (bed.in1.wire()?, bed.in2.wire()?, bed.uplink()?);
    let (client, server) = ((SILENT_IN1, 5000), (SILENT_IN2, 6000));
    let outside = (SILENT_OUT1, 80);
    let external = |wire, end| -> Result<End> {
        leaves_as(&uplink, wire, Transport::Tcp, end, outside)?.context("a SYN does not leave")
    };
    let seen_outside = external(&one, client)?;
    let external = external(&two, server)?;

    let arrives = |wire: &Wire, end: End, flags| {
        wire.find_within(Duration::from_secs(1), |seen| {
            !seen.outgoing && seen.destination() == end && seen.flags() == flags && seen.source() != outside
        })
    };
    one.send(&Packet::tcp(client, external, SYN).numbers(1, 0).payload(b""))?;
    let syn = arrives(&two, server, SYN)?;
    expect!(syn.is_some(), "a SYN to the external endpoint of another inside host does not reach it");
    let peer = syn.context("just looked at")?.source();
    expect!(peer == seen_outside, "the receiver sees {peer:?}, the outside {seen_outside:?}");

    two.send(&Packet::tcp(server, peer, SYN | ACK).numbers(9, 2).payload(b""))?;
    let answer = arrives(&one, client, SYN | ACK)?.map(|seen| seen.source());
    expect!(answer == Some(external), "the SYN/ACK comes back from {answer:?}");
    one.send(&Packet::tcp(client, external, ACK).numbers(2, 10).payload(b"round the corner"))?;
    let data = arrives(&two, server, ACK)?;
    let payload = data.as_ref().map(Seen::payload);
    expect!(payload == Some(b"round the corner"), "data arrives as {data:?}");
    Ok(Meets)
}

/// Closed by both, and the same ports again.
pub fn a_closed_connection_opens_again(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let mut connection = Script::established(bed, 40000, 80)?;
    let external = connection.external;
    connection.client_sends(FIN | ACK, b"")?.context("a FIN does not get through")?;
    connection.server_sends(FIN | ACK, b"")?.context("the other FIN does not get through")?;
    connection.client_sends(ACK, b"")?.context("the last ACK does not get through")?;

    connection.client_next += 1_000_000;
    connection.server_next += 2_000_000;
    let syn = connection.client_sends(SYN, b"")?;
    expect!(syn.is_some(), "a SYN from the ports of a closed connection does not get through");
    let again = connection.external;
    expect!(again == external, "the endpoint was seen as {external:?} and is now {again:?}");
    let answered = connection.server_sends(SYN | ACK, b"")?.is_some();
    let opened = answered && connection.client_sends(ACK, b"")?.is_some();
    expect!(opened, "the new handshake does not get through");
    let data = connection.client_sends(ACK, b"a request")?.is_some();
    let data = data && connection.server_sends(ACK, b"a response")?.is_some();
    expect!(data, "data of the new connection does not get through");
    Ok(Meets)
}
