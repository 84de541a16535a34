//! The states of a TCP connection, and their timers.

use crate::conformance::prelude::*;
use crate::conformance::rows::tcp::lifetime::{state, transitory};
use crate::conformance::script::Script;

pub fn they_follow_the_segments(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut seen: Vec<_> = transitory(bed, &nat)?.into_iter().map(|(state, _)| state).collect();
    let mut connection = Script::established(bed, 40002, 80)?;
    seen.push(state(&nat, 40002)?.0);
    connection.server_sends(RST, b"")?.context("a RST does not get through")?;
    seen.push(state(&nat, 40002)?.0);
    let states =
        ["SYN_SENT", "SYN_RECV", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "ESTABLISHED", "CLOSE"];
    expect!(seen == states, "opening, closing, an open one and a reset are {}", seen.join(", "));
    Ok(Meets)
}

pub fn opening_and_closing_have_their_own(bed: &Bed) -> Result<Outcome> {
    let set = Setup::default().timeout("tcp_syn_sent", 100).timeout("tcp_time_wait", 50);
    let nat = bed.translate(&set)?;
    Script::established(bed, 40002, 80)?;
    let mut states = transitory(bed, &nat)?;
    states.push(state(&nat, 40002)?);
    for (name, left) in states {
        let met = match name.as_str() {
            "SYN_SENT" => (98..=100).contains(&left),
            "TIME_WAIT" => (48..=50).contains(&left),
            _ => !(98..=100).contains(&left) && !(48..=50).contains(&left),
        };
        expect!(met, "SYN_SENT has 100 seconds, TIME_WAIT 50, and {name} {left} at first");
    }
    Ok(Meets)
}

pub fn four_minutes_unless_the_operator_wants_less(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut short = transitory(bed, &nat)?;
    short.retain(|(_, left)| *left < 239);
    drop(nat);

    let lowered = Setup::default().timeout("tcp_syn_sent", 60).timeout("tcp_time_wait", 60);
    let nat = bed.translate(&lowered)?;
    Script::new(bed, 50000, 80)?.client_sends(SYN, b"")?.context("a SYN does not get through")?;
    let left = state(&nat, 50000)?.1;
    expect!((58..=60).contains(&left), "it is lowered to 60 seconds, and {left} are left at first");
    let list = short.iter().map(|(state, left)| format!("{state} {}", left.next_multiple_of(10)));
    expect!(short.is_empty(), "in seconds: {}", list.collect::<Vec<_>>().join(", "));
    Ok(Meets)
}

pub fn a_reset_is_passed_on_and_may_have_been_forged(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut connection = Script::established(bed, 40000, 80)?;
    connection.client_sends(ACK, b"a request")?.context("data does not get through")?;
    connection.server_sends(ACK, b"a response")?.context("data does not come back")?;
    connection.client_sends(ACK, b"")?.context("an ACK does not get through")?;
    let external = connection.external;

    expect!(connection.server_sends(RST, b"")?.is_some(), "a RST from outside does not get through");
    let flow = nat.flow_from("tcp", (SILENT_IN1, 40000))?;
    let left = flow.map_or(0, |flow| flow.timeout);
    expect!(left >= 239, "after a RST the connection is kept for {} seconds", left.next_multiple_of(10));
    // The client has not taken it seriously.
    let data = connection.client_sends(ACK, b"another request")?.map(|seen| seen.source());
    expect!(data == Some(external), "data after a RST comes from {data:?}, and was from {external:?}");
    connection.server_next -= 1;
    let data = connection.server_sends(ACK, b"another response")?;
    expect!(data.is_some(), "data from outside after a RST does not get through");
    Ok(Meets)
}
