//! Forged resets, from outside and from a neighbour's port.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

/// What RFC 5382 REQ-5 leaves a closing connection, without the seconds that a busy machine takes to look.
const FOUR_MINUTES: u32 = 230;

/// Both directions pass data, from the end that would have got the reset first.
fn data_passes(script: &mut Script) -> Result<bool> {
    let down = script.server_sends(ACK, b"from the server")?.is_some();
    Ok(down && script.client_sends(ACK, b"from the client")?.is_some())
}

pub fn a_reset_out_of_window_changes_nothing(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut script = Script::established(bed, 40000, 80)?;
    ensure!(data_passes(&mut script)?, "data does not pass before there is any reset");
    for distance in [1_000_000_u32, 0x4000_0000, 0xc000_0000] {
        script.server_sends_at(script.server_next.wrapping_add(distance), RST, b"")?;
    }
    let left = nat.remaining("tcp", script.client)?;
    expect!(left >= FOUR_MINUTES, "after it the connection has less than four minutes left");
    expect!(data_passes(&mut script)?, "no data passes after it");
    Ok(Meets)
}

pub fn an_inexact_reset_in_the_window_does_not_shorten(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut script = Script::established(bed, 40000, 80)?;
    ensure!(data_passes(&mut script)?, "data does not pass before there is any reset");
    script.server_sends_at(script.server_next + 100, RST, b"")?;
    let left = nat.remaining("tcp", script.client)?;
    expect!(data_passes(&mut script)?, "no data passes after it");
    let later = nat.remaining("tcp", script.client)?;
    if left.min(later) < FOUR_MINUTES {
        let when = if later < FOUR_MINUTES { "also after more data" } else { "until there is data" };
        return Ok(Partly(format!(
            "data passes, but the connection has less than four minutes left, {when}"
        )));
    }
    Ok(Meets)
}

/// A server answers what belongs to no connection of its own with a reset whose number the forger chose.
pub fn provoked_resets_leave_the_port_with_its_owner(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let mut script = Script::established(bed, 40000, 80)?;
    let external = script.external;
    for forged in [0_u32, 1, 0x1234_5678, 0x7fff_ffff, 0x8000_0000, 0xdead_beef] {
        for flags in [RST, RST | ACK] {
            let reset = Packet::tcp(script.server, external, flags).numbers(forged, script.client_next);
            script.outside.send(&reset.payload([]))?;
        }
    }
    // An attacker who wants the connection would now ask for the same port towards the same server.
    let thief = bed.in2.wire()?;
    let outside = bed.out1.wire()?;
    thief.send(&Packet::tcp((SILENT_IN2, external.1), script.server, SYN))?;
    let taken = outside.find(|seen| seen.destination() == script.server && seen.flags() == SYN)?;
    expect!(
        taken.is_none_or(|seen| seen.source() != external),
        "another host gets the connection's external port"
    );
    expect!(data_passes(&mut script)?, "no data passes after them");
    expect!(script.external == external, "the connection has another external port after them");
    expect!(
        nat.remaining("tcp", script.client)? >= FOUR_MINUTES,
        "the connection has less than four minutes left"
    );
    Ok(Meets)
}
