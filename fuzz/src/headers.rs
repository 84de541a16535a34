//! Reading headers: lengths and offsets stay within the packet, the pieces that it is in make no difference, and
//! etherparse sees the same. What is plain is read alike in both ways.

use etherparse::{IpSlice, Ipv4HeaderSlice, LaxIpSlice, TcpSlice, UdpSlice};
use natbpf_common::Address;
use natbpf_common::wire::headers::{FRAGMENT_OFFSET, Found, Headers, Kind};
use natbpf_common::wire::packet::Packet as _;
use natbpf_common::wire::protocol::{ICMP, TCP, UDP};

use crate::Reached;
use crate::input::{Bytes, Input};

/// Length of the link layer header that plain packets have.
const ETHERNET: u32 = 14;
/// What a frame is filled up to, in bytes, without the frame check sequence (IEEE 802.3).
const SHORTEST_FRAME: u32 = 60;

/// A [`Kind`] by its number.
const KINDS: [Kind; 6] =
    [Kind::Forward, Kind::IcmpReply, Kind::IcmpError, Kind::IcmpOther, Kind::Fragment, Kind::Malformed];

pub fn check(data: &[u8]) -> Reached {
    let Some(mut input) = Input::read(data) else { return Reached::Nothing };
    let (mut whole, mut pieces) = (input.linear(), input.packet.clone());
    let (found, headers) = read(&mut input.packet, input.link_header);
    let (again, headers_again) = read(&mut whole, input.link_header);
    assert_eq!(found, again, "the pieces that the packet is in make a difference");
    assert_eq!(format!("{headers:?}"), format!("{headers_again:?}"), "the pieces make a difference");
    if input.link_header == ETHERNET {
        let plain = Headers::plain(&mut pieces).map(|headers| format!("{headers:?}"));
        let expected = (found == Found::Ipv4 && is_plain(&headers, &whole)).then(|| format!("{headers:?}"));
        assert_eq!(plain, expected, "a plain packet is read otherwise");
    }
    if found != Found::Ipv4 {
        return Reached::Nothing;
    }
    within(&headers, &whole);
    agrees(&headers, &whole)
}

fn read(packet: &mut Bytes, link_header: u32) -> (Found, Headers) {
    let mut headers = Headers::default();
    (headers.read(packet, link_header), headers)
}

/// Without options, not a fragment, and what the kernel would take as it is: the checksum of the header is right, and
/// nothing stands behind the packet but what fills the shortest frame.
fn is_plain(headers: &Headers, packet: &Bytes) -> bool {
    let shape = headers.network == ETHERNET && headers.transport == ETHERNET + 20 && headers.fragment == 0;
    if !shape || headers.is(Kind::Malformed) {
        return false;
    }
    let header =
        Ipv4HeaderSlice::from_slice(&packet.bytes[ETHERNET as usize..]).expect("etherparse reads the header");
    let filled = headers.transport + headers.payload == packet.length() || packet.length() <= SHORTEST_FRAME;
    // Zero has two forms in ones' complement, and a receiver takes both.
    let zero_once = |checksum: u16| if checksum == u16::MAX { 0 } else { checksum };
    filled && zero_once(header.header_checksum()) == zero_once(header.to_header().calc_header_checksum())
}

/// What is said of offsets and lengths.
fn within(headers: &Headers, packet: &Bytes) {
    let length = packet.length();
    assert!(KINDS.iter().any(|kind| headers.is(*kind)), "the kind is {}", headers.kind);
    assert!(headers.network + 20 <= length, "the addresses are beyond the packet");
    if headers.is(Kind::Malformed) {
        return;
    }
    assert!(headers.transport >= headers.network + 20 && headers.transport <= length);
    assert!(headers.payload <= length - headers.transport, "the payload ends beyond the packet");
    assert_eq!(headers.is(Kind::Fragment), headers.fragment & FRAGMENT_OFFSET != 0);
    let least = match (headers.protocol, headers.is(Kind::Fragment)) {
        (TCP, false) => 20,
        (UDP | ICMP, false) => 8,
        _ => 0,
    };
    assert!(headers.payload >= least, "a transport header of {} bytes", headers.payload);
}

/// Compares with etherparse.
fn agrees(headers: &Headers, packet: &Bytes) -> Reached {
    let bytes = &packet.bytes[headers.network as usize..];
    if packet.is_gso() && bytes[2..4] == [0, 0] {
        // etherparse does not know that this stands for the rest of the packet.
        return Reached::Read;
    }
    let strict = IpSlice::from_slice(bytes).ok();
    let readable = strict.as_ref().is_some_and(|slice| slice.ipv4().is_some());
    if !headers.is(Kind::Malformed) && matches!(headers.protocol, TCP | UDP | ICMP) {
        assert!(readable, "etherparse finds no IPv4 header");
    }
    let Ok((LaxIpSlice::Ipv4(slice), _)) = LaxIpSlice::from_slice(bytes) else {
        assert!(headers.is(Kind::Malformed), "etherparse finds nothing");
        return Reached::Read;
    };
    let header = slice.header();
    assert_eq!(headers.source, Address::from(header.source_addr()));
    assert_eq!(headers.destination, Address::from(header.destination_addr()));
    assert_eq!(headers.protocol, header.protocol().0);
    if headers.is(Kind::Malformed) || headers.is(Kind::Fragment) {
        return Reached::Read;
    }
    let body = &bytes[usize::from(header.ihl()) * 4..usize::from(header.total_len())];
    assert_eq!(headers.payload as usize, body.len());
    let (source, destination) = (headers.source_port.number(), headers.destination_port.number());
    match headers.protocol {
        TCP => {
            let tcp = TcpSlice::from_slice(body).expect("etherparse reads the TCP header");
            assert_eq!((source, destination), (tcp.source_port(), tcp.destination_port()));
            let header = tcp.to_header();
            assert_eq!(
                headers.tcp_flags.bits() & 0x12,
                u8::from(header.ack) << 4 | u8::from(header.syn) << 1
            );
        }
        UDP if headers.fragment == 0 => {
            let udp = UdpSlice::from_slice(body).expect("etherparse reads the UDP header");
            assert_eq!((source, destination), (udp.source_port(), udp.destination_port()));
        }
        ICMP => assert_eq!(headers.icmp_type, body[0]),
        _ => {}
    }
    Reached::Whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets;

    #[test]
    fn built_and_damaged_packets() {
        packets::run(check, packets::input(packets::packet()));
    }

    /// Found by libFuzzer: four bytes of UDP in the first fragment, and padding behind them.
    #[test]
    fn a_first_fragment_without_its_header() {
        let input = [
            1, 0, 0, 0, 6, 149, 149, 10, 255, 69, 0, 0, 24, 21, 0, 32, 0, 0, 17, 195, 19, 0, 0, 0, 0, 0, 0,
            0, 0, 26, 149, 149, 36, 251, 0, 149, 0, 149,
        ];
        assert_eq!(check(&input), Reached::Read);
    }
}
