//! Packets of inside hosts and errors from outside about them.

use crate::conformance::prelude::*;

/// A packet that left.
#[derive(Debug)]
pub struct Quoted {
    /// As the inside host sent it.
    pub sent: Seen,
    /// As the outside saw it, and quotes it.
    pub left: Seen,
}

impl Quoted {
    /// Sends a packet through the gateway whose port is taken, so that there is more than the address to be restored.
    pub fn new(passage: &Passage, packet: &Packet) -> Result<Self> {
        let left = passage.leaves_by_another_port(packet)?;
        let sent = Seen::of_packet(&packet.ip_bytes(), true).context("no packet")?;
        Ok(Self { sent, left })
    }

    /// One each of UDP, TCP and ICMP.
    pub fn one_of_each_kind(passage: &Passage) -> Result<Vec<Self>> {
        let (client, server) = ((SILENT_IN1, 5000), (SILENT_OUT1, 9));
        let packets = [
            Packet::udp(client, server),
            Packet::tcp(client, server, SYN).payload(b""),
            Packet::echo(client.0, server.0, client.1),
        ];
        packets.iter().map(|packet| Self::new(passage, packet)).collect()
    }

    /// An error of `r2` that quotes all of it.
    pub fn error(&self, kind: u8, code: u8, rest: u32) -> Packet {
        self.error_with(kind, code, rest, self.left.bytes())
    }

    /// An error of `r2` that quotes these bytes.
    pub fn error_with(&self, kind: u8, code: u8, rest: u32, quote: &[u8]) -> Packet {
        Packet::icmp_error(R2, self.left.src(), kind, code, rest, quote)
    }

    /// What `error` as it arrived inside says wrongly about the packet that was sent; transport checksums only where
    /// the quote is whole.
    pub fn complaint(&self, error: &Seen) -> Option<String> {
        let Some(quote) = error.quote() else { return Some("the error quotes nothing".into()) };
        let lengths = |seen: &Seen| (seen.header().len(), seen.body().len());
        let whole = lengths(&quote) == lengths(&self.left);
        let wrong = if error.dst() != self.sent.src() {
            "it goes to another address than the quoted packet came from"
        } else if (quote.source(), quote.destination()) != (self.sent.source(), self.sent.destination()) {
            "the quoted packet has other ends than the one that was sent"
        } else if !error.sums_are_right() {
            "the checksum of the message or of its header is wrong"
        } else if !quote.header_sum_is_right() {
            "the checksum of the quoted header is wrong"
        } else if whole && !quote.sums_are_right() {
            "the quoted transport checksum is wrong"
        } else if whole && quote.payload() != self.sent.payload() {
            "the quoted payload is another one"
        } else {
            return None;
        };
        Some(format!("of an error about {}, {wrong}", self.sent))
    }
}
