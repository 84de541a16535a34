//! Packets whose checksums are wrong when they come.

use crate::conformance::prelude::*;

const SERVER: End = (SILENT_OUT1, 9);

/// One each of UDP, TCP and ICMP, and where the checksum is behind its IPv4 header.
fn packets() -> [(&'static str, Packet, usize); 3] {
    let client = (SILENT_IN1, 5000);
    [
        ("UDP", Packet::udp(client, SERVER), 6),
        ("TCP", Packet::tcp(client, SERVER, SYN).numbers(1000, 0).payload(b""), 16),
        ("ICMP", Packet::echo(client.0, SERVER.0, client.1), 2),
    ]
}

fn answer(packet: &Packet, external: End) -> Packet {
    let answer = packet.answer(external);
    match answer.body {
        Body::Tcp(_) => answer.flags(SYN | ACK).numbers(5000, 1001).payload(b""),
        _ => answer,
    }
}

/// The packet with other bits in two bytes.
fn spoiled(packet: &Packet, at: usize) -> Vec<u8> {
    let mut bytes = packet.ip_bytes();
    bytes[at] ^= 0x55;
    bytes[at + 1] ^= 0x55;
    bytes
}

pub fn a_wrong_header_checksum_is_not_repaired(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for (name, packet, _) in packets() {
        let external = passage.leaves_by_another_port(&packet)?.source();
        let answer = answer(&packet, external);
        ensure!(passage.inward(&[answer.ip_bytes()])?.len() == 1, "the answer of {name} does not arrive");
        let left = passage.outward(&[spoiled(&packet, 10)])?;
        expect!(left.is_empty(), "{name} with a wrong header checksum leaves: {left:?}");
        let arrived = passage.inward(&[spoiled(&answer, 10)])?;
        expect!(arrived.is_empty(), "{name} with a wrong header checksum arrives: {arrived:?}");
    }
    Ok(Meets)
}

pub fn a_wrong_transport_checksum_stays_wrong(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let mut untranslated = Vec::new();
    for (name, packet, checksum) in packets() {
        let external = passage.leaves_by_another_port(&packet)?.source();
        let answer = answer(&packet, external);
        ensure!(passage.inward(&[answer.ip_bytes()])?.len() == 1, "the answer of {name} does not arrive");
        let left = passage.outward(&[spoiled(&packet, 20 + checksum)])?;
        let arrived = passage.inward(&[spoiled(&answer, 20 + checksum)])?;
        let repaired = left.iter().chain(&arrived).find(|seen| seen.sums_are_right());
        expect!(repaired.is_none(), "{name} with a wrong checksum comes through with a right one");
        if left.iter().any(|seen| seen.src() == SILENT_IN1) {
            untranslated.push(name);
        }
    }
    if untranslated.is_empty() {
        return Ok(Meets);
    }
    let kinds = untranslated.join(", ");
    Ok(Partly(format!(
        "with a wrong checksum {kinds} leave with their inside source, the checksum as it was"
    )))
}
