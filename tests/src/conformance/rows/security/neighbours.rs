//! What a host inside does to another one.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::conformance::script::Script;
use crate::conformance::tcp;
use crate::ends::tools::{ping, together};

/// As on a router whose routes are not symmetric: a source may arrive by any interface.
fn without_reverse_path_filter(bed: &Bed) -> Result<()> {
    for device in ["all", "br0", "wan"] {
        bed.gw.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
    }
    Ok(())
}

pub fn a_forged_reset_from_inside_takes_nothing_over(bed: &Bed) -> Result<Outcome> {
    without_reverse_path_filter(bed)?;
    let nat = bed.translate(&Setup::default())?;
    let mut script = Script::established(bed, 40000, 80)?;
    let (neighbour, victim) = (bed.in2.wire()?, bed.in1.wire()?);
    let before = nat.remaining("tcp", script.client)?;
    for flags in [RST, RST | ACK, FIN | ACK] {
        let forged = Packet::tcp(script.server, script.external, flags);
        neighbour.send(&forged.numbers(script.server_next, script.client_next).payload([]))?;
    }
    let seen = victim.find(|seen| seen.dst() == SILENT_IN1)?;
    expect!(seen.is_none(), "what claims to be the server on the LAN reaches the instance");
    let left = nat.remaining("tcp", script.client)?;
    expect!(left + 60 >= before, "the connection's time is cut by it");
    // Taking it over: the same port, towards the same server.
    neighbour.send(&Packet::tcp((SILENT_IN2, script.external.1), script.server, SYN))?;
    let taken = bed.out1.wire()?.find(|seen| seen.source() == script.external)?;
    expect!(taken.is_none(), "another host gets the connection's external port");
    script.server_sends(ACK, b"from the server")?.context("the connection is cut")?;
    Ok(Meets)
}

pub fn what_claims_to_come_from_outside_is_no_reply(bed: &Bed) -> Result<Outcome> {
    without_reverse_path_filter(bed)?;
    // With it the translator looks at what arrives on the LAN, too.
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.hairpin(true)))?;
    let (victim, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let server = (SILENT_OUT1, 9);
    victim.send(&Packet::udp((SILENT_IN1, 5000), server))?;
    victim.send(&Packet::echo(SILENT_IN1, SILENT_OUT1, 77))?;
    let udp = outside.expect(|seen| seen.destination() == server)?.source();
    let echo = outside.expect(|seen| seen.icmp() == Some((8, 0)))?.source();
    let replies = [Packet::udp(server, udp).payload(b"reply"), Packet::icmp(SILENT_OUT1, GW, 0, echo.1)];
    let arrived = || victim.find(|seen| seen.src() == SILENT_OUT1 && seen.dst() == SILENT_IN1);
    for reply in &replies {
        outside.send(reply)?;
        ensure!(arrived()?.is_some(), "a true reply does not arrive");
    }
    let neighbour = bed.in2.wire()?;
    for (reply, name) in replies.iter().zip(["UDP", "ICMP"]) {
        neighbour.send(reply)?;
        expect!(arrived()?.is_none(), "a {name} reply forged on the LAN reaches the instance");
    }
    Ok(Meets)
}

/// As if by one of them: source port, destination and protocol are the same.
pub fn two_hosts_with_one_tuple_get_their_own_answers(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    // UDP and TCP: each client checks that it gets the answer to its own question.
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let sockets = [bed.in1.udp((IN1, 5000))?, bed.in2.udp((IN2, 5000))?];
    let seen = [server.ask(&sockets[0], "in1")?, server.ask(&sockets[1], "in2")?];
    expect!(seen[0] != seen[1], "UDP: both are seen as {}", seen[0]);
    let _server = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let mut streams =
        [tcp::connect(&bed.in1, 40000, (OUT1, 80))?, tcp::connect(&bed.in2, 40000, (OUT1, 80))?];
    let ports = [tcp::whom_it_saw(&mut streams[0])?, tcp::whom_it_saw(&mut streams[1])?];
    expect!(ports[0] != ports[1], "TCP: both are seen as {}", ports[0]);
    for (stream, text) in streams.iter_mut().zip([b"from in1", b"from in2"]) {
        expect!(tcp::echoes(stream, text), "TCP: a host does not get its own bytes back");
    }
    let pings = together(|| ping(&bed.in1, OUT1, "-c 3 -e 99"), || ping(&bed.in2, OUT1, "-c 3 -e 99"));
    let received = [pings.0?.received, pings.1?.received];
    expect!(received == [3, 3], "ICMP: of three pings each got {received:?} answers");
    Ok(Meets)
}

pub fn strangers_answers_are_dropped(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let server = (SILENT_OUT1, 9);
    inside.send(&Packet::udp((SILENT_IN1, 5000), server))?;
    let external = uplink.expect(|seen| seen.destination() == server)?.source();
    let outside = bed.out1.wire()?;
    let arrived = |text: &[u8]| inside.find(|seen| seen.dst() == SILENT_IN1 && seen.payload() == text);
    outside.send(&Packet::udp(server, external).payload(b"the server"))?;
    ensure!(arrived(b"the server")?.is_some(), "the answer of who was asked does not arrive");
    let strangers: [(Ipv4Addr, u16); 4] = [(OUT2, 9), (OUT1_ALIAS, 9), (FAR, 9), (SILENT_OUT1, 10)];
    for stranger in strangers {
        outside.send(&Packet::udp(stranger, external).payload(b"a stranger"))?;
    }
    let stranger = arrived(b"a stranger")?;
    expect!(stranger.is_none(), "what {:?} sends arrives", stranger.map(|seen| seen.source()));
    Ok(Meets)
}
