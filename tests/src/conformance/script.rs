//! A TCP connection packet by packet, between silent addresses: no stack interferes, and every number is known.

use anyhow::{Context, Result};
use natbpf_common::wire::segment::{ACK, FIN, SYN, TcpFlags};

use super::bed::{Bed, SILENT_IN1, SILENT_OUT1};
use crate::object::{End, Packet};
use crate::wire::Wire;
use crate::wire::seen::Seen;

/// Both ends of a connection from [`SILENT_IN1`] to [`SILENT_OUT1`], with the numbers they would send next.
#[derive(Debug)]
pub struct Script {
    /// At the device of the inside end.
    pub inside: Wire,
    /// At the device of the outside end.
    pub outside: Wire,
    pub client: End,
    pub server: End,
    /// What the outside takes for the client, once a SYN has come through.
    pub external: End,
    pub client_next: u32,
    pub server_next: u32,
}

impl Script {
    /// Nothing is sent yet; `external` is a guess (the gateway's address, the same port).
    pub fn new(bed: &Bed, client_port: u16, server_port: u16) -> Result<Self> {
        Ok(Self {
            inside: bed.in1.wire()?,
            outside: bed.out1.wire()?,
            client: (SILENT_IN1, client_port),
            server: (SILENT_OUT1, server_port),
            external: (super::bed::GW, client_port),
            client_next: 1000,
            server_next: 500_000,
        })
    }

    /// SYN, SYN/ACK and ACK.
    ///
    /// # Errors
    /// When one of the three does not get through.
    pub fn established(bed: &Bed, client_port: u16, server_port: u16) -> Result<Self> {
        let mut script = Self::new(bed, client_port, server_port)?;
        script.client_sends(SYN, b"")?.context("the SYN did not get through")?;
        script.server_sends(SYN | ACK, b"")?.context("the SYN/ACK did not get through")?;
        script.client_sends(ACK, b"")?.context("the ACK of the handshake did not get through")?;
        Ok(script)
    }

    /// The inside end sends its next segment; returns it as the outside saw it, if it did.
    pub fn client_sends(&mut self, flags: TcpFlags, payload: &[u8]) -> Result<Option<Seen>> {
        let seen = self.client_sends_at(self.client_next, flags, payload)?;
        self.client_next = self.client_next.wrapping_add(length(flags, payload));
        Ok(seen)
    }

    /// As [`Script::client_sends`] with another sequence number; the next one stays as it is.
    pub fn client_sends_at(
        &mut self,
        sequence: u32,
        flags: TcpFlags,
        payload: &[u8],
    ) -> Result<Option<Seen>> {
        let acknowledged = if flags.intersects(ACK) { self.server_next } else { 0 };
        let packet = Packet::tcp(self.client, self.server, flags).numbers(sequence, acknowledged);
        self.inside.send(&packet.payload(payload))?;
        let seen = find(&self.outside, self.server, sequence, flags)?;
        if let Some(seen) = &seen {
            self.external = seen.source();
        }
        Ok(seen)
    }

    /// The outside end sends its next segment to where the client seems to be; returns it as the inside saw it, if
    /// it did.
    pub fn server_sends(&mut self, flags: TcpFlags, payload: &[u8]) -> Result<Option<Seen>> {
        let seen = self.server_sends_at(self.server_next, flags, payload)?;
        self.server_next = self.server_next.wrapping_add(length(flags, payload));
        Ok(seen)
    }

    /// As [`Script::server_sends`] with another sequence number; the next one stays as it is.
    pub fn server_sends_at(
        &mut self,
        sequence: u32,
        flags: TcpFlags,
        payload: &[u8],
    ) -> Result<Option<Seen>> {
        let acknowledged = if flags.intersects(ACK) { self.client_next } else { 0 };
        let packet = Packet::tcp(self.server, self.external, flags).numbers(sequence, acknowledged);
        self.outside.send(&packet.payload(payload))?;
        find(&self.inside, self.client, sequence, flags)
    }
}

/// A segment that has come in at `wire`.
fn find(wire: &Wire, destination: End, sequence: u32, flags: TcpFlags) -> Result<Option<Seen>> {
    wire.find(|seen| {
        !seen.outgoing
            && seen.destination() == destination
            && seen.sequence() == sequence
            && seen.flags() == flags
    })
}

/// In sequence numbers.
fn length(flags: TcpFlags, payload: &[u8]) -> u32 {
    let markers = u32::from(flags.intersects(SYN)) + u32::from(flags.intersects(FIN));
    u32::try_from(payload.len()).unwrap_or_default() + markers
}
