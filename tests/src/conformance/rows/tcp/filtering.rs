//! Who gets in by a mapping, and what happens to a SYN that nobody asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::conformance::behaviour::Transport;
use crate::conformance::prelude::*;
use crate::conformance::rows::udp::filtering::{modes, strangers};
use crate::conformance::script::Script;
use crate::conformance::tcp;

pub fn strangers_get_in_by_the_rfc(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    strangers(bed, Transport::Tcp)
}

pub fn the_operator_chooses(bed: &Bed) -> Result<Outcome> {
    Ok(match modes(bed, Transport::Tcp)? {
        Meets => Partly("it is chosen for TCP and UDP together".to_owned()),
        other => other,
    })
}

/// RFC 5382 wants silence for so long.
const SILENCE: Duration = Duration::from_secs(6);

/// What is said to an unsolicited SYN, and when.
type Answers = Vec<(Duration, Seen)>;

/// The first answer to an unsolicited SYN, if one comes a little after the six seconds at the latest. Two
/// rows are about it, and wait once: the second learns what the first has seen.
fn answers(bed: &Bed) -> Result<Answers> {
    static SEEN: Mutex<BTreeMap<String, Answers>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let name = bed.kind().to_string();
    if let Some(answers) = seen.get(&name) {
        return Ok(answers.clone());
    }
    let _nat = bed.translate(&Setup::rfc())?;
    let outside = bed.out1.wire()?;
    // A connection of an instance passes, so the gateway does translate.
    let server = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    tcp::mapping(&bed.in1, 40000, (OUT1, 80))?;
    drop(server);

    outside.send(&Packet::tcp((SILENT_OUT1, 50000), (GW, 41000), SYN).payload(b""))?;
    let start = Instant::now();
    let answer =
        outside.find_within(SILENCE + Duration::from_millis(200), |seen| seen.dst() == SILENT_OUT1)?;
    let answers: Answers = answer.map(|seen| (start.elapsed(), seen)).into_iter().collect();
    seen.insert(name, answers.clone());
    Ok(answers)
}

pub fn an_unsolicited_syn_is_not_answered(bed: &Bed) -> Result<Outcome> {
    let early = answers(bed)?.into_iter().find(|(when, _)| *when < SILENCE);
    expect!(
        early.is_none(),
        "it is answered by {}",
        early.map_or(String::new(), |(_, seen)| seen.to_string())
    );
    Ok(Meets)
}

pub fn an_unsolicited_syn_is_answered_late(bed: &Bed) -> Result<Outcome> {
    let answers = answers(bed)?;
    expect!(!answers.is_empty(), "it is never answered");
    let late = answers.iter().all(|(when, seen)| *when >= SILENCE && seen.icmp() == Some((3, 3)));
    expect!(late, "it is answered at once by {}", answers[0].1);
    Ok(Meets)
}

/// The SYN of the outside is first, that of the inside 0.3 seconds later.
pub fn the_other_syn_may_come_first(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let mut connection = Script::new(bed, 40000, 5000)?;
    let syn = Packet::tcp((SILENT_OUT1, 5000), (GW, 40000), SYN).numbers(500_000, 0).payload(b"");
    connection.outside.send(&syn)?;
    let to_server = |seen: &Seen| !seen.outgoing && seen.dst() == SILENT_OUT1;
    let answer = connection.outside.find_within(Duration::from_millis(300), to_server)?;
    expect!(
        answer.is_none(),
        "the first SYN is answered by {}",
        answer.map_or(String::new(), |a| a.to_string())
    );

    connection.client_sends(SYN, b"")?.context("a SYN does not leave")?;
    expect!(connection.external == (GW, 40000), "the inside's SYN comes from {:?}", connection.external);
    let opened = connection.server_sends(SYN | ACK, b"")?.is_some();
    let opened = opened && connection.client_sends(ACK, b"a request")?.is_some();
    let opened = opened && connection.server_sends(ACK, b"a response")?.is_some();
    expect!(opened, "the connection cannot be completed");
    Ok(Meets)
}

/// A stack that answers does so at once, so a second is long enough.
pub fn silence_where_the_operator_wants_it(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.unsolicited("drop")))?;
    Script::established(bed, 40000, 80)?;
    let outside = bed.out1.wire()?;
    outside.send(&Packet::tcp((SILENT_OUT1, 50000), (GW, 41000), SYN).payload(b""))?;
    let answer = outside.find_within(Duration::from_secs(1), |seen| seen.dst() == SILENT_OUT1)?;
    expect!(answer.is_none(), "it is answered by {}", answer.map_or(String::new(), |seen| seen.to_string()));
    Ok(Meets)
}
