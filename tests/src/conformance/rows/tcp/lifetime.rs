//! How long a connection is kept in each of its states, and what comes after.

use crate::conformance::behaviour::{Transport, leaves_as};
use crate::conformance::prelude::*;
use crate::conformance::script::Script;

/// The state of the connection from the client's port, and the seconds that are left.
pub fn state(nat: &Translation<'_>, port: u16) -> Result<(String, u32)> {
    let flow = nat.flow_from("tcp", (SILENT_IN1, port))?;
    let flow = flow.with_context(|| format!("no connection from port {port}"))?;
    Ok((flow.state.unwrap_or_default(), flow.timeout))
}

/// The states of connections that open and close, each with the seconds it has.
pub fn transitory(bed: &Bed, nat: &Translation<'_>) -> Result<Vec<(String, u32)>> {
    let mut states = Vec::new();
    let mut opening = Script::new(bed, 40000, 80)?;
    opening.client_sends(SYN, b"")?.context("a SYN does not get through")?;
    states.push(state(nat, 40000)?);
    opening.server_sends(SYN | ACK, b"")?.context("a SYN/ACK does not get through")?;
    states.push(state(nat, 40000)?);

    let mut closing = Script::established(bed, 40001, 80)?;
    closing.client_sends(FIN | ACK, b"")?.context("a FIN does not get through")?;
    states.push(state(nat, 40001)?);
    closing.server_sends(ACK, b"")?.context("the ACK of a FIN does not get through")?;
    states.push(state(nat, 40001)?);
    closing.server_sends(FIN | ACK, b"")?.context("the second FIN does not get through")?;
    states.push(state(nat, 40001)?);
    closing.client_sends(ACK, b"")?.context("the last ACK does not get through")?;
    states.push(state(nat, 40001)?);
    Ok(states)
}

pub fn an_idle_connection_lives_two_hours(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut connection = Script::established(bed, 40000, 80)?;
    connection.client_sends(ACK, b"a request")?.context("data does not get through")?;
    connection.server_sends(ACK, b"a response")?.context("data does not come back")?;
    connection.client_sends(ACK, b"")?.context("an ACK does not get through")?;
    let is_kept = || Ok(state(&nat, 40000)?.1 >= 7439);
    let kept = becomes_true(bed.unseen(), is_kept)?;
    let (state, left) = state(&nat, 40000)?;
    ensure!(state == "ESTABLISHED", "the state is {state}");
    expect!(kept, "it lives {} seconds", left.next_multiple_of(10));
    Ok(Meets)
}

pub fn opening_and_closing_live_four_minutes(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let states = transitory(bed, &nat)?;
    let short: Vec<_> = states.iter().filter(|(_, left)| *left < 239).collect();
    let list = short.iter().map(|(state, left)| format!("{state} {}", left.next_multiple_of(10)));
    expect!(short.is_empty(), "in seconds: {}", list.collect::<Vec<_>>().join(", "));
    Ok(Meets)
}

pub fn the_timers_are_the_operators(bed: &Bed) -> Result<Outcome> {
    let timeouts = [
        ("SYN_SENT", "tcp_syn_sent", 210),
        ("SYN_RECV", "tcp_syn_recv", 220),
        ("FIN_WAIT", "tcp_fin_wait", 230),
        ("CLOSE_WAIT", "tcp_close_wait", 250),
        ("LAST_ACK", "tcp_last_ack", 260),
        ("TIME_WAIT", "tcp_time_wait", 270),
        ("ESTABLISHED", "tcp_established", 8000),
    ];
    let set = timeouts.iter().fold(Setup::default(), |setup, (_, key, seconds)| setup.timeout(key, *seconds));
    let nat = bed.translate(&set)?;
    let mut states = transitory(bed, &nat)?;
    Script::established(bed, 40002, 80)?;
    states.push(state(&nat, 40002)?);
    for (name, left) in states {
        let known = timeouts.iter().find(|(known, ..)| *known == name);
        let (_, key, seconds) = known.with_context(|| format!("the state {name} has no timeout here"))?;
        expect!(
            (seconds - 2..=*seconds).contains(&left),
            "{key} is {seconds}, and {left} seconds are left at first"
        );
    }
    Ok(Meets)
}

/// Half closed and given up: another host gets the port towards another server, and then the old server
/// speaks.
pub fn a_session_given_up_reaches_nobody_else(bed: &Bed) -> Result<Outcome> {
    // By endpoint-independent mapping a port is kept from others for a while longer.
    let setup = Setup::masquerade(|rule| rule.mapping("address-and-port-dependent"));
    let nat = bed.translate(&setup.timeout("tcp_fin_wait", 1).timeout("tcp_close_wait", 1))?;
    let mut old = Script::established(bed, 40000, 80)?;
    old.client_sends(FIN | ACK, b"")?.context("a FIN does not get through")?;
    old.server_sends(ACK, b"the rest of it")?.context("data after the FIN does not get through")?;
    nat.wait_for_flows(Duration::from_secs(5), |flows| {
        flows.iter().all(|flow| flow.original.sport != 40000)
    })?;

    let (heir, other) = ((SILENT_IN2, 40000), (SILENT_OUT2, 80));
    let new = bed.in2.wire()?;
    let external = leaves_as(&bed.uplink()?, &new, Transport::Tcp, heir, other)?;
    ensure!(external == Some(old.external), "another host gets {external:?}, not {:?}", old.external);
    bed.out2.wire()?.send(&Transport::Tcp.answer(other, old.external))?;
    new.expect(|seen| seen.destination() == heir && seen.source() == other)?;

    old.server_sends(ACK, b"something late")?;
    old.server_sends(FIN | ACK, b"")?;
    let strayed = new.drain()?.into_iter().find(|seen| seen.src() == SILENT_OUT1);
    expect!(strayed.is_none(), "what the old server sends later reaches another host: {strayed:?}");
    Ok(Meets)
}

/// All state is lost, as when the gateway starts anew, and the client goes on as if nothing had happened.
pub fn a_connection_is_picked_up(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut connection = Script::established(bed, 40000, 80)?;
    connection.client_sends(ACK, b"before")?.context("data does not get through")?;
    let external = connection.external;
    let nat = match nat {
        Translation::Natbpf(daemon) => {
            daemon.stop()?;
            bed.translate(&Setup::default())?
        }
        other => {
            bed.gw.cmd("conntrack").arg("-F").run()?;
            other
        }
    };
    ensure!(nat.flow_from("tcp", (SILENT_IN1, 40000))?.is_none(), "the state is not lost");

    let seen = connection.client_sends(ACK, b"and after")?;
    expect!(seen.is_some(), "data from inside does not get through");
    expect!(connection.external == external, "it was {external:?} and goes on as {:?}", connection.external);
    expect!(connection.server_sends(ACK, b"still here")?.is_some(), "data from outside does not get through");
    Ok(Meets)
}
