//! Errors from outside about packets of inside hosts.

use super::quoted::Quoted;
use super::traceroute;
use crate::conformance::prelude::*;

/// Type, code and what stands behind the checksum: every unreachable with a code, source quench, time exceeded,
/// parameter problem.
const KINDS: [(u8, u8, u32); 21] = [
    (3, 0, 0),
    (3, 1, 0),
    (3, 2, 0),
    (3, 3, 0),
    (3, 4, 1280),
    (3, 5, 0),
    (3, 6, 0),
    (3, 7, 0),
    (3, 8, 0),
    (3, 9, 0),
    (3, 10, 0),
    (3, 11, 0),
    (3, 12, 0),
    (3, 13, 0),
    (3, 14, 0),
    (3, 15, 0),
    (4, 0, 0),
    (11, 0, 0),
    (11, 1, 0),
    (12, 0, 20 << 24),
    (12, 2, 0),
];

pub fn the_quoted_packet_is_the_one_sent(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for quoted in Quoted::one_of_each_kind(&passage)? {
        let arrived = passage.inward(&[quoted.error(11, 0, 0).ip_bytes()])?;
        let [error] = &arrived[..] else {
            return Ok(Fails(format!("of an error about {} there arrives {arrived:?}", quoted.sent)));
        };
        if let Some(complaint) = quoted.complaint(error) {
            return Ok(Fails(complaint));
        }
    }
    traceroute::shows_every_hop(bed)
}

pub fn type_and_code_stay(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let quoted = Quoted::new(&passage, &Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let errors = KINDS.map(|(kind, code, rest)| quoted.error(kind, code, rest).ip_bytes());
    let arrived = passage.inward(&errors)?;
    for (kind, code, rest) in KINDS {
        let same = |seen: &&Seen| {
            let (high, low) = seen.icmp_rest();
            seen.icmp() == Some((kind, code)) && u32::from(high) << 16 | u32::from(low) == rest
        };
        let Some(error) = arrived.iter().find(same) else {
            return Ok(Fails(format!("an error of type {kind} code {code} does not arrive as it was")));
        };
        if let Some(complaint) = quoted.complaint(error) {
            return Ok(Fails(complaint));
        }
    }
    expect!(arrived.len() == KINDS.len(), "of {} errors {} arrive", KINDS.len(), arrived.len());
    Ok(Meets)
}

pub fn the_sender_of_the_error_stays(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let quoted = Quoted::new(&passage, &Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    // The router, the destination itself, and a router on the way that has a private address.
    for from in [R2, SILENT_OUT1, "192.168.7.1".parse()?] {
        let error = Packet::icmp_error(from, GW, 11, 0, 0, quoted.left.bytes());
        let arrived = passage.inward(&[error.ip_bytes()])?;
        let ends = arrived.iter().map(|seen| (seen.src(), seen.dst())).collect::<Vec<_>>();
        expect!(ends == [(from, SILENT_IN1)], "an error of {from} arrives as {arrived:?}");
    }
    Ok(Meets)
}

pub fn a_wrong_checksum_is_not_passed_on(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let quoted = Quoted::new(&passage, &Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let good = quoted.error(3, 3, 0).ip_bytes();
    let mut bad = quoted.error(3, 1, 0).ip_bytes();
    bad[20 + 2] ^= 1;
    only_the_good_one_arrives(&passage, bad, good, "one with a wrong checksum")
}

pub fn a_wrong_quoted_header_checksum_is_not_passed_on(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let quoted = Quoted::new(&passage, &Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let mut quote = quoted.left.bytes().to_vec();
    quote[10] ^= 1;
    let bad = quoted.error_with(3, 1, 0, &quote).ip_bytes();
    let good = quoted.error(3, 3, 0).ip_bytes();
    only_the_good_one_arrives(&passage, bad, good, "one that quotes a wrong header checksum")
}

pub fn an_error_about_no_flow_ends_in_silence(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let quoted = Quoted::new(&passage, &Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let unknown = Packet::udp((GW, 33_333), (SILENT_OUT1, 9)).ip_bytes();
    let bad = quoted.error_with(3, 1, 0, &unknown).ip_bytes();
    let good = quoted.error(3, 3, 0).ip_bytes();
    let outcome = only_the_good_one_arrives(&passage, bad, good, "one about a packet of no flow")?;
    let answers = passage.left()?.into_iter().filter(|seen| seen.protocol() == 1).collect::<Vec<_>>();
    expect!(answers.is_empty(), "the error is answered: {answers:?}");
    Ok(outcome)
}

/// `bad` has code 1, `good` code 3. Neither is answered.
fn only_the_good_one_arrives(passage: &Passage, bad: Vec<u8>, good: Vec<u8>, what: &str) -> Result<Outcome> {
    let arrived = passage.inward(&[bad, good])?;
    let has = |code| arrived.iter().any(|seen| seen.icmp() == Some((3, code)));
    expect!(has(3), "not even a right error arrives");
    expect!(!has(1), "{what} arrives, too");
    Ok(Meets)
}
