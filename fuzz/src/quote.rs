//! The packet that an ICMP error quotes: what is read is within the quote, and after a translation of one of its ends
//! all three checksums are what they would be if they were computed anew.

use natbpf_common::flow::{Direction, FlowKey};
use natbpf_common::wire::quote::{ICMP_HEADER, Quote};

use crate::Reached;
use crate::input::{Bytes, Input};
use crate::ports::has_port;
use crate::sums::{assert_same, half, is_right, of_header, put, transport_is_right};

/// The packet is an ICMP message with its quote.
pub fn check(data: &[u8]) -> Reached {
    let Some(mut input) = Input::read(data) else { return Reached::Nothing };
    let length = input.packet.bytes.len() as u32;
    if length < ICMP_HEADER {
        return Reached::Nothing;
    }
    if input.mend {
        mend(&mut input.packet.bytes);
    }
    let (offset, length) = (ICMP_HEADER, length - ICMP_HEADER);
    let mut whole = input.linear();
    let quote = read(&mut input.packet, offset, length);
    let again = read(&mut whole, offset, length);
    assert_eq!(
        format!("{quote:?}"),
        format!("{again:?}"),
        "the pieces that the packet is in make a difference"
    );
    let Some(quote) = quote else { return Reached::Read };
    within(&quote, &whole.bytes);
    translate(&input, &quote, &mut whole);
    Reached::Whole
}

/// Makes the checksums of the quoted header and of the message right, as far as there is one.
fn mend(bytes: &mut [u8]) {
    let start = ICMP_HEADER as usize;
    let header = bytes.get(start).map_or(0, |first| usize::from(first & 0xf) * 4);
    if header >= 20 && bytes.len() >= start + header {
        let sum = of_header(&bytes[start..start + header]);
        put(bytes, ICMP_HEADER + 10, sum.to_ne_bytes());
    }
    mend_message(bytes);
}

fn mend_message(bytes: &mut [u8]) {
    put(bytes, 2, [0; 2]);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(bytes).ones_complement();
    put(bytes, 2, sum.to_ne_bytes());
}

fn read(packet: &mut Bytes, offset: u32, length: u32) -> Option<Quote> {
    let mut quote = Quote::default();
    quote.read(packet, offset, length).map(|()| quote)
}

fn within(quote: &Quote, bytes: &[u8]) {
    let end = bytes.len() as u32;
    assert_eq!(quote.network, ICMP_HEADER);
    assert!(quote.transport >= quote.network + 20 && quote.transport + 8 <= end);
    assert!(
        is_right(&bytes[quote.network as usize..quote.transport as usize]),
        "a spoiled header is believed"
    );
    assert!(quote.checksum_at == 0 || quote.checksum_at > quote.transport && quote.checksum_at + 2 <= end);
    for destination in [false, true] {
        assert!(quote.port_at(destination) + 2 <= quote.transport + 8);
    }
    let key = FlowKey::answering(quote, Direction::Reply);
    assert_eq!((key.source, key.destination), (quote.destination, quote.source));
}

/// As the datapath does it, there and back.
fn translate(input: &Input, quote: &Quote, packet: &mut Bytes) {
    let old = match input.destination {
        true => (quote.destination, quote.destination_port),
        false => (quote.source, quote.source_port),
    };
    let is_reply = matches!(packet.bytes[quote.transport as usize], 0 | 14 | 16 | 18);
    let port = if has_port(quote.protocol, is_reply, input.destination) { input.port } else { old.1 };
    let new = (input.address, port);
    let before = packet.bytes.clone();
    write(&mut packet.bytes, quote, old, new, input.destination);
    assert_eq!(is_right(&before), is_right(&packet.bytes), "whether the message's checksum is right");
    assert_eq!(inner(&before, quote), inner(&packet.bytes, quote), "whether the quoted checksums are right");

    let length = packet.bytes.len() as u32 - ICMP_HEADER;
    let after = read(packet, ICMP_HEADER, length).expect("the translated quote can be believed");
    let seen = match input.destination {
        true => (after.destination, after.destination_port),
        false => (after.source, after.source_port),
    };
    assert_eq!(seen, new, "the end that the quote has now");
    write(&mut packet.bytes, &after, new, old, input.destination);
    assert_same(&before, &packet.bytes, &[2, quote.network + 10, quote.checksum_at]);
}

type End = (natbpf_common::Address, natbpf_common::Port);

fn write(bytes: &mut [u8], quote: &Quote, old: End, new: End, destination: bool) {
    let sums = quote.checksums(half(bytes, 2), old, new);
    put(bytes, quote.network + 10, sums.network.to_ne_bytes());
    put(bytes, quote.network + if destination { 16 } else { 12 }, new.0.to_wire().to_ne_bytes());
    if new.1 != old.1 {
        put(bytes, quote.port_at(destination), new.1.to_wire().to_ne_bytes());
    }
    if quote.checksum_at != 0 {
        put(bytes, quote.checksum_at, sums.transport.to_ne_bytes());
    }
    put(bytes, 2, sums.message.to_ne_bytes());
}

/// Whether the quoted header's checksum is right, and the transport's where all of the packet is quoted.
fn inner(bytes: &[u8], quote: &Quote) -> (bool, Option<bool>) {
    let (network, transport) = (quote.network as usize, quote.transport as usize);
    let header = &bytes[network..transport];
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_fragment = header[6] & 0x3f != 0 || header[7] != 0;
    let body = bytes.get(transport..network + total).filter(|_| total >= header.len() && !is_fragment);
    let sum = body.filter(|body| body.len() >= 20).and_then(|body| transport_is_right(header, body));
    (is_right(header), sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets;

    #[test]
    fn built_and_damaged_quotes() {
        packets::run(check, packets::input(packets::error()));
    }
}
