//! Errors do not change flows.

use super::quoted::Quoted;
use crate::conformance::prelude::*;

pub fn an_error_neither_refreshes_nor_ends_a_query(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let query = Packet::echo(SILENT_IN1, SILENT_OUT1, 77);
    let quoted = Quoted::new(&passage, &query)?;
    let remaining = || nat.remaining("icmp", (SILENT_IN1, 77));
    // It has aged: a refresh would show.
    let full = remaining()?;
    wait_until("a second has passed", Duration::from_secs(4), || Ok(remaining()? < full))?;

    let aged = remaining()?;
    let errors =
        [(3, 1), (3, 3), (11, 0), (12, 0)].map(|(kind, code)| quoted.error(kind, code, 0).ip_bytes());
    let arrived = passage.inward(&errors)?;
    expect!(arrived.len() == errors.len(), "of {} errors there arrive {arrived:?}", errors.len());
    expect!(nat.flow_from("icmp", (SILENT_IN1, 77))?.is_some(), "an error ends the flow");
    expect!(remaining()? <= aged, "an error refreshes the flow");
    let reply = query.answer(quoted.left.source()).ip_bytes();
    let replies = passage.inward(&[reply])?;
    expect!(replies.len() == 1, "after an error the reply does not arrive");
    Ok(Meets)
}
