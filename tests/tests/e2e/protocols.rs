//! Protocols without ports that NAT knows: the address alone is translated.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::ends::raw::RawSocket;
use lab::{GATEWAY, SERVER};

use super::twin::{Setup, twin};

const GRE: u8 = 47;
const ESP: u8 = 50;
/// Set aside for experiments (RFC 3692).
const UNKNOWN: u8 = 253;

/// A packet out and one back, for one protocol.
fn round_trip(protocol: u8, packet: &'static [u8]) -> Result<()> {
    let outcome = twin(&Setup::default(), |lab, _| {
        let client = RawSocket::protocol(&lab.vm1, protocol)?;
        let server = RawSocket::protocol(&lab.out, protocol)?;
        client.send(packet, SERVER)?;
        let asked = server.receive()?.context("the packet did not arrive")?;
        server.send(packet, asked.source)?;
        let answered = client.receive()?.context("the answer did not arrive")?;
        Ok((asked.source, asked.payload == packet, answered.source, answered.payload == packet))
    })?;
    assert_eq!(outcome, (GATEWAY, true, SERVER, true));
    Ok(())
}

#[test]
fn gre() -> Result<()> {
    // No flags, version 0, carries IPv4.
    round_trip(GRE, b"\0\0\x08\0 payload")
}

#[test]
fn esp() -> Result<()> {
    // SPI, sequence number, and what may be anything.
    round_trip(ESP, b"\0\0\x01\x02\0\0\0\x01 ciphertext")
}

#[test]
fn an_unknown_protocol() -> Result<()> {
    round_trip(UNKNOWN, b"anything")
}

/// Nothing tells the answers to two instances apart, so the second one is refused: an answer never goes
/// astray.
#[test]
fn a_second_instance_does_not_get_the_answers_of_the_first() -> Result<()> {
    let outcome = twin(&Setup::default(), |lab, _| {
        let sockets = [&lab.vm1, &lab.vm2].map(|vm| RawSocket::protocol(vm, UNKNOWN));
        let [one, two] = sockets;
        let (one, two) = (one?, two?);
        let server = RawSocket::protocol(&lab.out, UNKNOWN)?;
        one.send(b"one", SERVER)?;
        let first = server.receive()?.context("the first instance's packet did not arrive")?.payload;
        two.send(b"two", SERVER)?;
        server.set_timeout(Duration::from_millis(300))?;
        let second = server.receive()?.map(|packet| packet.payload);
        server.send(b"answer", GATEWAY)?;
        two.set_timeout(Duration::from_millis(300))?;
        let answers = (one.receive()?.is_some(), two.receive()?.is_some());
        Ok((first, second, answers))
    })?;
    assert_eq!(outcome, (b"one".to_vec(), None, (true, false)));
    Ok(())
}
