//! What keeps a mapping alive.

use crate::conformance::behaviour::{Transport, crosses, leaves_as};
use crate::conformance::prelude::*;
use crate::conformance::rows::tcp::lifetime::state;
use crate::conformance::rows::udp::lifetime::{grows_older, refresh};
use crate::conformance::script::Script;

const SERVER: End = (SILENT_OUT1, 9);

/// With endpoint-independent filtering, by packets of a stranger.
pub fn a_stranger_renews_where_the_operator_wants(bed: &Bed) -> Result<Outcome> {
    let rule = |source: &str, refresh| {
        Rule::new("wan").source(source).filtering("endpoint-independent").inbound_refresh(refresh)
    };
    let setup = Setup::with(&[rule("10.0.0.21/32", true), rule("10.0.0.22/32", false)]);
    refresh(bed, &setup, (SILENT_OUT1, 77))
}

/// An inside host that wants nothing of what comes, and says so by ICMP and by RST.
pub fn a_refusal_does_not(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::masquerade(|rule| rule.inbound_refresh(false)))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let client = (SILENT_IN1, 5000);
    let external = leaves_as(&bed.uplink()?, &inside, Transport::Udp, client, SERVER)?;
    let external = external.context("a datagram does not leave")?;
    let unwanted = Packet::udp(SERVER, external).payload("unwanted");
    let unwanted = crosses(&unwanted, &outside, &inside)?.context("an answer is not delivered")?;
    let mut connection = Script::established(bed, 40000, 80)?;
    connection.server_sends(ACK, b"unwanted")?.context("data does not get through")?;
    connection.client_sends(RST, b"")?.context("a RST does not get through")?;

    let (by_udp, by_tcp) = (nat.remaining("udp", client)?, state(&nat, 40000)?.1);
    grows_older(&nat, client, by_udp)?;
    inside.send(&Packet::icmp_error(client.0, SERVER.0, 3, 3, 0, unwanted.bytes()))?;
    let left = nat.remaining("udp", client)?;
    expect!(left < by_udp, "an ICMP error from inside renews the mapping");
    connection.client_sends(RST, b"")?;
    let left = nat.flow_from("tcp", (SILENT_IN1, 40000))?.map_or(0, |flow| flow.timeout);
    expect!(
        left < by_tcp,
        "each RST from inside gives the connection {} seconds more",
        by_tcp.next_multiple_of(10)
    );
    Ok(Meets)
}
