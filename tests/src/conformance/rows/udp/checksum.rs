//! The two special checksums of UDP: none, and one that would be zero.

use crate::conformance::behaviour::crosses;
use crate::conformance::prelude::*;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

/// As it stands in the header.
fn sum(packet: &[u8]) -> u16 {
    let at = usize::from(packet[0] & 0xf) * 4 + 6;
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// Two bytes with which a datagram between these has a sum of zero.
fn balance(source: End, destination: End) -> [u8; 2] {
    // What is added to a sum's complement makes all ones, the complement of which is zero.
    sum(&Packet::udp(source, destination).payload([0, 0]).ip_bytes()).to_be_bytes()
}

pub fn none_stays_none_and_zero_is_all_ones(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let first =
        crosses(&Packet::udp(CLIENT, SERVER), &inside, &outside)?.context("a datagram does not leave")?;
    let external = first.source();

    let out = Packet::udp(CLIENT, SERVER).payload("not summed").without_sum();
    let seen = crosses(&out, &inside, &outside)?.map(|seen| sum(seen.bytes()));
    expect!(seen == Some(0), "on the way out no checksum becomes {seen:04x?}");
    let back = Packet::udp(SERVER, external).payload("nor this").without_sum();
    let seen = crosses(&back, &outside, &inside)?.map(|seen| sum(seen.bytes()));
    expect!(seen == Some(0), "on the way in no checksum becomes {seen:04x?}");

    let out = Packet::udp(CLIENT, SERVER).payload(balance(external, SERVER));
    let seen = crosses(&out, &inside, &outside)?.map(|seen| sum(seen.bytes()));
    expect!(seen == Some(0xffff), "on the way out a checksum that comes to zero is sent as {seen:04x?}");
    let back = Packet::udp(SERVER, external).payload(balance(SERVER, CLIENT));
    let seen = crosses(&back, &outside, &inside)?.map(|seen| sum(seen.bytes()));
    expect!(seen == Some(0xffff), "on the way in a checksum that comes to zero is sent as {seen:04x?}");
    Ok(Meets)
}
