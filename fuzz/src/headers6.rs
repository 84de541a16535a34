//! Reading headers of IPv6, as [`headers`](crate::headers) does of IPv4: all that is said of a packet is
//! within it, the pieces that it is in make no difference, and etherparse sees the same.

use etherparse::{IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, TcpSlice};
use natbpf_common::wire::Address6;
use natbpf_common::wire::family::V6;
use natbpf_common::wire::headers::{FRAGMENT_OFFSET, Headers, Kind, Located, locate};
use natbpf_common::wire::packet::Packet as _;
use natbpf_common::wire::protocol::{ICMP6, TCP, UDP, extension};
use natbpf_common::wire::segment::{self, TcpFlags};

use crate::Reached;
use crate::input::{Bytes, Input};

/// Length of the header itself.
const HEADER: u32 = 40;

/// Extension headers that are followed at most.
const EXTENSIONS: usize = 6;

pub fn check(data: &[u8]) -> Reached {
    let Some(mut input) = Input::read(data) else { return Reached::Nothing };
    let mut whole = input.linear();
    let headers = read(&mut input.packet, input.link_header);
    let again = read(&mut whole, input.link_header);
    assert_eq!(
        format!("{headers:?}"),
        format!("{again:?}"),
        "the pieces that the packet is in make a difference"
    );
    let Some(headers) = headers else { return Reached::Nothing };
    within(&headers, &whole);
    agrees(&headers, &whole)
}

fn read(packet: &mut Bytes, link_header: u32) -> Option<Headers<V6>> {
    let Located::V6(offset) = locate(packet, link_header)? else { return None };
    let mut headers = Headers::default();
    headers.read_at(packet, offset).map(|()| headers)
}

/// What is said of offsets and lengths.
fn within(headers: &Headers<V6>, packet: &Bytes) {
    let length = packet.length();
    assert!(headers.network + HEADER <= length, "the addresses are beyond the packet");
    assert!(headers.transport >= headers.network + HEADER);
    if headers.is(Kind::Malformed) {
        return;
    }
    assert!(
        headers.transport <= length && headers.payload <= length - headers.transport,
        "the payload ends beyond it"
    );
    let is_later = headers.fragment & FRAGMENT_OFFSET != 0;
    assert_eq!(headers.is(Kind::Fragment), is_later);
    assert!(is_later || !extension::is_one(headers.protocol), "an extension header is the contents");
    let least = match headers.protocol {
        TCP if !is_later => 20,
        UDP | ICMP6 if !is_later => 8,
        _ => 0,
    };
    assert!(headers.payload >= least, "a transport header of {} bytes", headers.payload);
}

/// Compares with etherparse.
fn agrees(headers: &Headers<V6>, packet: &Bytes) -> Reached {
    let bytes = &packet.bytes[headers.network as usize..];
    let Ok(header) = Ipv6HeaderSlice::from_slice(bytes) else {
        assert!(headers.is(Kind::Malformed), "etherparse finds no IPv6 header");
        return Reached::Read;
    };
    assert_eq!(headers.source, Address6::from(header.source_addr()));
    assert_eq!(headers.destination, Address6::from(header.destination_addr()));
    assert_eq!(headers.time_to_live, header.hop_limit());
    assert_eq!(headers.service, header.traffic_class());
    let behind = &bytes[HEADER as usize..];
    let length = match usize::from(header.payload_length()) {
        0 if packet.is_gso() => behind.len(),
        length => length,
    };
    let Some(contents) = behind.get(..length) else {
        assert!(headers.is(Kind::Malformed), "the packet is shorter than its header says");
        return Reached::Read;
    };
    if headers.is(Kind::Fragment) {
        // Here etherparse reads on, in what is payload.
        return Reached::Read;
    }
    let Ok((extensions, protocol, body)) = Ipv6ExtensionsSlice::from_slice(header.next_header(), contents)
    else {
        assert!(headers.is(Kind::Malformed), "etherparse cannot read the extension headers");
        return Reached::Read;
    };
    let is_split = |extension: &Ipv6ExtensionSlice<'_>| matches!(extension, Ipv6ExtensionSlice::Fragment(_));
    let fragments = extensions.clone().into_iter().filter(is_split).count();
    if extensions.clone().into_iter().count() > EXTENSIONS || fragments > 1 {
        assert!(headers.is(Kind::Malformed), "too many extension headers are believed");
        return Reached::Read;
    }
    let is_fragment = extensions.is_fragmenting_payload();
    assert_eq!(headers.is(Kind::Malformed), !is_sound(protocol, body, is_fragment), "{protocol:?}: {body:?}");
    if headers.is(Kind::Malformed) {
        return Reached::Read;
    }
    assert_eq!((headers.protocol, headers.payload as usize), (protocol.0, body.len()));
    assert_eq!(headers.is_fragment(), is_fragment);
    assert_eq!(&packet.bytes[headers.transport as usize..][..body.len()], body);
    has_fields_of(headers, body);
    Reached::Whole
}

/// Whether a transport header is all there, and its lengths are right.
fn is_sound(protocol: IpNumber, body: &[u8], is_fragment: bool) -> bool {
    match protocol.0 {
        TCP => TcpSlice::from_slice(body).is_ok() && segment::plausible(TcpFlags::from_bits_retain(body[13])),
        UDP if body.len() >= 8 => {
            let length = usize::from(u16::from_be_bytes([body[4], body[5]]));
            length >= 8 && (is_fragment || length <= body.len())
        }
        UDP => false,
        ICMP6 => body.len() >= 8,
        _ => true,
    }
}

fn has_fields_of(headers: &Headers<V6>, body: &[u8]) {
    let half = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let ports = (headers.source_port.number(), headers.destination_port.number());
    let (kind, expected) = match headers.protocol {
        TCP | UDP => (Kind::Forward, (half(0), half(2))),
        ICMP6 => match body[0] {
            128 => (Kind::Forward, (half(4), 128)),
            129 => (Kind::IcmpReply, (128, half(4))),
            1..=4 => (Kind::IcmpError, (0, 0)),
            _ => (Kind::IcmpOther, (0, 0)),
        },
        _ => (Kind::Forward, (0, 0)),
    };
    assert!(headers.is(kind), "{} is not {kind:?}", headers.kind);
    assert_eq!(ports, expected);
    match headers.protocol {
        TCP => assert_eq!(
            (headers.tcp_header, headers.tcp_flags),
            ((body[12] >> 4) * 4, TcpFlags::from_bits_retain(body[13]))
        ),
        ICMP6 => assert_eq!(headers.icmp_type, body[0]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets;

    #[test]
    fn built_and_damaged_packets() {
        packets::run(check, packets::input(packets::packet6()));
    }
}
