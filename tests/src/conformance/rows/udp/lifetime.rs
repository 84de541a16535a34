//! How long a mapping lives, and what keeps it alive.

use crate::conformance::behaviour::{Transport, crosses, leaves_as};
use crate::conformance::prelude::*;
use crate::gateway::flows::Flow;

const SERVER: End = (SILENT_OUT1, 9);

/// What the timeout was a moment ago: all of them are multiples of ten.
fn round(left: u32) -> u32 {
    left.next_multiple_of(10)
}

/// A flow without a reply and one with replies in both directions, and what is left of them.
fn unreplied_and_stream(bed: &Bed, nat: &Translation<'_>, port: u16, server: u16) -> Result<[u32; 2]> {
    // Nobody answers there.
    bed.in1.udp((IN1, port))?.send_to(b"one packet out", (SILENT_OUT1, server))?;
    nat.wait_for_flows(Duration::from_secs(2), |flows| flows.iter().any(|flow| flow.original.sport == port))?;
    let reflector = Reflector::start(&bed.out1, (OUT1, server))?;
    let socket = bed.in1.udp((IN1, port + 1))?;
    for _ in 0..2 {
        reflector.ask(&socket, "are you there?")?;
    }
    Ok([nat.remaining("udp", (IN1, port))?, nat.remaining("udp", (IN1, port + 1))?])
}

pub fn a_mapping_lives_two_minutes(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let [unreplied, stream] = unreplied_and_stream(bed, &nat, 5000, 9)?;
    expect!(unreplied >= 119, "a mapping without a reply lives {} seconds", round(unreplied));
    expect!(stream >= 119, "a mapping with a reply lives {} seconds", round(stream));
    Ok(Meets)
}

pub fn a_mapping_lives_five_minutes_by_default(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let [unreplied, stream] = unreplied_and_stream(bed, &nat, 5000, 9)?;
    let met = unreplied >= 299 && stream >= 299;
    let [unreplied, stream] = [round(unreplied), round(stream)];
    expect!(met, "a mapping lives {unreplied} seconds without a reply and {stream} with one");
    Ok(Meets)
}

pub fn shorter_for_well_known_ports_alone(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let [dns, _] = unreplied_and_stream(bed, &nat, 5000, 53)?;
    let [other, _] = unreplied_and_stream(bed, &nat, 6000, 1053)?;
    expect!(
        other >= 119,
        "a mapping lives {} seconds towards port 53, and {} towards port 1053",
        round(dns),
        round(other)
    );
    Ok(Meets)
}

pub fn the_timers_are_the_operators(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default().timeout("udp", 150).timeout("udp_stream", 170))?;
    let [unreplied, _] = unreplied_and_stream(bed, &nat, 5000, 9)?;
    expect!((148..=150).contains(&unreplied), "150 seconds are set, and {unreplied} are left at the start");
    // Netfilter calls it a stream when it sees a packet and it is two seconds old.
    let server = Reflector::start(&bed.out1, (OUT1, 10))?;
    let socket = bed.in1.udp((IN1, 7000))?;
    let is_stream = || {
        server.ask(&socket, "again")?;
        Ok((168..=170).contains(&nat.remaining("udp", (IN1, 7000))?))
    };
    expect!(
        becomes_true(Duration::from_secs(4), is_stream)?,
        "170 seconds are set for a stream, and {} are left after a packet",
        nat.remaining("udp", (IN1, 7000))?
    );
    Ok(Meets)
}

/// Waits until so little is left of the flow that a refresh shows.
pub fn grows_older(nat: &Translation<'_>, inside: End, new: u32) -> Result<()> {
    let older = || Ok(nat.remaining("udp", inside)? + 2 <= new);
    wait_until("less is left of an idle flow than two seconds ago", Duration::from_secs(5), older)
}

pub fn packets_from_inside_keep_it_alive(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let (inside, uplink, outside) = (bed.in1.wire()?, bed.uplink()?, bed.out1.wire()?);
    let client = (SILENT_IN1, 5000);
    let send = || leaves_as(&uplink, &inside, Transport::Udp, client, SERVER);
    let external = send()?.context("the first packet does not leave")?;
    let new = nat.remaining("udp", client)?;
    grows_older(&nat, client, new)?;
    let later = send()?;
    expect!(later == Some(external), "the endpoint was {external:?} and is {later:?} two seconds later");
    let left = nat.remaining("udp", client)?;
    expect!(left + 1 >= new, "a packet from inside does not renew the lifetime: {left} of {new} seconds");
    let reply = Packet::udp(SERVER, external).payload("a reply after all");
    expect!(crosses(&reply, &outside, &inside)?.is_some(), "a reply is not delivered");
    Ok(Meets)
}

/// With one host whose packets from outside renew, and another whose do not.
pub fn packets_from_outside_renew_where_the_operator_wants(bed: &Bed) -> Result<Outcome> {
    let rule = |source: &str, refresh| Rule::new("wan").source(source).inbound_refresh(refresh);
    let setup = Setup::with(&[rule("10.0.0.21/32", true), rule("10.0.0.22/32", false)]);
    refresh(bed, &setup, SERVER)
}

/// Whether a packet of `sender` renews the mapping of one host, and that of the other not.
pub fn refresh(bed: &Bed, setup: &Setup, sender: End) -> Result<Outcome> {
    let nat = bed.translate(setup)?;
    let (uplink, outside) = (bed.uplink()?, bed.out1.wire()?);
    let hosts = [(bed.in1.wire()?, (SILENT_IN1, 5000)), (bed.in2.wire()?, (SILENT_IN2, 6000))];
    let mut flows = Vec::new();
    for (wire, inside) in &hosts {
        let external = leaves_as(&uplink, wire, Transport::Udp, *inside, SERVER)?;
        let external = external.context("the first packet does not leave")?;
        // Until there is a reply, netfilter has another timeout.
        let reply = Packet::udp(SERVER, external).payload("a reply");
        crosses(&reply, &outside, wire)?.context("a reply is not delivered")?;
        if sender != SERVER {
            // A stranger's flow begins when he is answered. What he sends then, and nobody answers, renews it or not.
            let question = Packet::udp(sender, external).payload("a question");
            let question = crosses(&question, &outside, wire)?;
            expect!(question.is_some(), "a packet of {sender:?} is not let in");
            wire.send(&Packet::udp(*inside, sender).payload("an answer"))?;
            outside.drain()?;
        }
        flows.push((wire, *inside, external, nat.remaining("udp", *inside)?));
    }
    for (_, inside, _, new) in &flows {
        grows_older(&nat, *inside, *new)?;
    }
    let mut renewed = Vec::new();
    for (wire, inside, external, new) in flows {
        let packet = Packet::udp(sender, external).payload("only from outside");
        expect!(crosses(&packet, &outside, wire)?.is_some(), "a packet of {sender:?} is not let in");
        renewed.push(longest(&nat, inside)? + 1 >= new);
    }
    expect!(renewed[0], "packets from outside do not keep a mapping alive where they should");
    expect!(!renewed[1], "packets from outside keep a mapping alive, and nothing switches that off");
    Ok(Meets)
}

/// How long a mapping has at least: as its flow that lives longest, from whichever side that began.
fn longest(nat: &Translation<'_>, inside: End) -> Result<u32> {
    let is_its = |flow: &Flow| {
        let ends = [flow.original, flow.reply].map(|tuple| (tuple.src, tuple.sport));
        flow.protocol == "udp" && ends.contains(&inside)
    };
    let flows = nat.flows()?;
    let longest = flows.iter().filter(|flow| is_its(flow)).map(|flow| flow.timeout).max();
    longest.with_context(|| format!("{inside:?} has no flow any more"))
}
