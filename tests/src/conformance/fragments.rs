//! Datagrams in pieces.

use crate::object::Packet;

/// `packet` in fragments of `size` bytes, which has to be a multiple of 8, in order. The checksum is that of
/// the whole; the identification is the packet's.
pub fn fragments(packet: &Packet, size: usize) -> Vec<Packet> {
    let bytes = packet.ip_bytes();
    let body = &bytes[packet.ip.header_len()..];
    let count = body.len().div_ceil(size);
    let piece = |(number, bytes): (usize, &[u8])| {
        let (source, destination) = (packet.ip.source.into(), packet.ip.destination.into());
        let offset = u16::try_from(number * size / 8).expect("a packet has 16 bits of length");
        let piece = Packet::other(packet.ip.protocol.0, source, destination).payload(bytes);
        piece.id(packet.ip.identification).ttl(packet.ip.time_to_live).fragment(offset, number + 1 < count)
    };
    body.chunks(size).enumerate().map(piece).collect()
}
