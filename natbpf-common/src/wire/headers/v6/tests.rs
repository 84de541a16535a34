use std::iter::once;

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv6Extensions, Ipv6FlowLabel, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, Ipv6Slice, PacketBuilder, PacketBuilderStep, VlanId,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    interface::IfIndex,
    wire::{
        Port,
        headers::{Located, locate},
        protocol::{ESP, ICMP, ICMP6, TCP, UDP, extension::*},
        segment::TcpFlags,
    },
};

const ETHERNET: u32 = 14;
const TRANSPORT: u32 = ETHERNET + 40;
const SOURCE: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const DESTINATION: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53];
const NO_NEXT_HEADER: u8 = 59;
/// One that is always in place, with room for what a test says.
const OPTIONS: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// A packet whose first bytes are in one piece, as in a socket buffer.
#[derive(Clone, Debug)]
struct Bytes {
    bytes: Vec<u8>,
    linear: usize,
    is_ipv4: bool,
    is_gso: bool,
}

impl Packet for Bytes {
    fn interface(&self) -> IfIndex {
        IfIndex::new(1)
    }

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn is_ipv4(&self) -> bool {
        self.is_ipv4
    }

    fn is_ipv6(&self) -> bool {
        !self.is_ipv4
    }

    fn is_gso(&self) -> bool {
        self.is_gso
    }

    fn view<const LENGTH: usize>(&self, offset: u32) -> Option<View<LENGTH>> {
        let view = self.bytes[..self.linear].get(offset as usize..)?.get(..LENGTH)?;
        // SAFETY: so many bytes are there.
        Some(unsafe { View::new(view.as_ptr()) })
    }

    fn pull(&mut self, end: u32) -> Option<()> {
        assert!(end as usize <= self.bytes.len(), "bytes beyond the packet are asked for");
        self.linear = self.linear.max(end as usize);
        Some(())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, linear: 0, is_ipv4: false, is_gso: false }
    }
}

/// Reads a frame, whatever the pieces that it is in.
fn read(packet: impl Into<Bytes>) -> Option<Headers<V6>> {
    let packet = packet.into();
    let all = (0..=packet.bytes.len()).map(|linear| {
        let mut packet = Bytes { linear, ..packet.clone() };
        let Some(Located::V6(offset)) = locate(&mut packet, ETHERNET) else { return None };
        let mut headers = Headers::default();
        headers.read_at(&mut packet, offset).map(|()| headers)
    });
    let all: Vec<_> = all.collect();
    let shown = |headers: &Option<Headers<V6>>| format!("{headers:?}");
    assert!(all.iter().all(|headers| shown(headers) == shown(&all[0])), "the pieces make a difference");
    all[0]
}

#[track_caller]
fn expect(packet: impl Into<Bytes>, kind: Kind) -> Headers<V6> {
    let headers = read(packet).expect("the addresses are there");
    assert!(headers.is(kind), "{headers:?} is not {kind:?}");
    headers
}

fn ip(extensions: Ipv6Extensions) -> IpHeaders {
    let header = Ipv6Header {
        traffic_class: 0xb9,
        flow_label: Ipv6FlowLabel::try_new(0xf_edcb).unwrap(),
        hop_limit: 63,
        source: SOURCE,
        destination: DESTINATION,
        ..Ipv6Header::default()
    };
    IpHeaders::Ipv6(header, extensions)
}

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2; 6], [4; 6])
}

/// A segment with these extension headers.
fn segment(extensions: Ipv6Extensions) -> Vec<u8> {
    let mut bytes = Vec::new();
    ethernet().ip(ip(extensions)).tcp(1234, 443, 1, 9).ack(7).write(&mut bytes, b"payload").unwrap();
    bytes
}

/// An extension header of `8 * length` bytes.
fn raw(length: usize) -> Ipv6RawExtHeader {
    Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![0x55; 8 * length - 2]).unwrap()
}

fn authentication(icv: usize) -> IpAuthHeader {
    IpAuthHeader::new(IpNumber(0), 5, 6, &vec![0x55; icv]).unwrap()
}

fn fragment(offset: u16, more: bool) -> Ipv6FragmentHeader {
    Ipv6FragmentHeader::new(IpNumber(0), IpFragOffset::try_new(offset).unwrap(), more, 0x0102_0304)
}

/// All of them, in the order of RFC 8200, section 4.1.
fn all_six() -> Ipv6Extensions {
    let routing = Ipv6RoutingExtensions { routing: raw(3), final_destination_options: Some(raw(4)) };
    Ipv6Extensions {
        hop_by_hop_options: Some(raw(1)),
        destination_options: Some(raw(2)),
        routing: Some(routing),
        fragment: Some(fragment(0, false)),
        auth: Some(authentication(12)),
    }
}

/// An extension header by its number, and what follows its first byte.
type Extension<'a> = (u8, &'a [u8]);

/// A frame by hand: extension headers, then a protocol with its bytes.
fn chain(extensions: &[Extension<'_>], protocol: u8, body: &[u8]) -> Vec<u8> {
    let numbers = extensions.iter().map(|(number, _)| *number).chain(once(protocol));
    let mut contents = Vec::new();
    for ((_, rest), next) in extensions.iter().zip(numbers.clone().skip(1)) {
        contents.push(next);
        contents.extend_from_slice(rest);
    }
    contents.extend_from_slice(body);
    let mut bytes = Vec::new();
    ethernet().ip(ip(Ipv6Extensions::default())).write(&mut bytes, IpNumber::UDP, &contents).unwrap();
    // Last: etherparse writes no extension headers that it did not make.
    bytes[20] = numbers.clone().next().unwrap();
    bytes
}

fn udp(length: u16) -> [u8; 8] {
    let [a, b] = length.to_be_bytes();
    [0, 53, 0, 99, a, b, 0, 0]
}

/// Options that fill one header of 8 bytes.
fn options() -> Vec<u8> {
    [&[0][..], &OPTIONS].concat()
}

#[test]
fn headers_are_whole_words() {
    assert_eq!(size_of::<Headers>(), 40);
    assert_eq!(size_of::<Headers<V6>>(), 72);
}

#[test]
fn a_segment_is_read_with_all_its_fields() {
    let headers = expect(segment(Ipv6Extensions::default()), Kind::Forward);
    assert_eq!((headers.network, headers.transport, headers.payload), (ETHERNET, TRANSPORT, 20 + 7));
    assert_eq!(headers.source, core::net::Ipv6Addr::from(SOURCE).into());
    assert_eq!(headers.destination, core::net::Ipv6Addr::from(DESTINATION).into());
    assert_eq!((headers.source_port, headers.destination_port), (Port::new(1234), Port::new(443)));
    assert_eq!((headers.protocol, headers.tcp_flags, headers.tcp_header), (TCP, TcpFlags::ACK, 20));
    assert_eq!((headers.service, headers.time_to_live), (0xb9, 63));
    assert_eq!((headers.fragment, headers.identification, headers.checksum), (0, 0, 0));
}

#[test]
fn a_plain_packet_has_its_flow_label() {
    let packet = &mut Bytes::from(segment(Ipv6Extensions::default()));
    let headers = Headers::<V6>::read_plain(packet).expect("there is nothing special about it");
    assert_eq!((headers.service, headers.identification), (0xb9, 0xf_edcb));
}

#[test]
fn every_extension_header_is_followed() {
    let none = Ipv6Extensions::default;
    let routing = |last| Ipv6RoutingExtensions { routing: raw(3), final_destination_options: last };
    let cases = [
        (Ipv6Extensions { hop_by_hop_options: Some(raw(1)), ..none() }, 8),
        (Ipv6Extensions { hop_by_hop_options: Some(raw(256)), ..none() }, 2048),
        (Ipv6Extensions { destination_options: Some(raw(2)), ..none() }, 16),
        (Ipv6Extensions { routing: Some(routing(None)), ..none() }, 24),
        (Ipv6Extensions { routing: Some(routing(Some(raw(1)))), ..none() }, 32),
        (Ipv6Extensions { fragment: Some(fragment(0, false)), ..none() }, 8),
        (Ipv6Extensions { auth: Some(authentication(0)), ..none() }, 12),
        (Ipv6Extensions { auth: Some(authentication(20)), ..none() }, 32),
        (all_six(), 8 + 16 + 24 + 8 + 24 + 32),
    ];
    for (extensions, length) in cases {
        let headers = expect(segment(extensions), Kind::Forward);
        assert_eq!((headers.transport, headers.payload), (TRANSPORT + length, 27));
        assert_eq!((headers.protocol, headers.source_port), (TCP, Port::new(1234)));
    }
}

#[test]
fn tags_are_skipped_and_tell_no_family() {
    let built = |tags: usize, is_ipv4: bool| {
        let mut bytes = Vec::new();
        let link = ethernet();
        let ip = if is_ipv4 {
            IpHeaders::Ipv4(etherparse::Ipv4Header::default(), etherparse::Ipv4Extensions::default())
        } else {
            ip(all_six())
        };
        let id = |id| VlanId::try_new(id).unwrap();
        let step = match tags {
            0 => link.ip(ip),
            1 => link.single_vlan(id(7)).ip(ip),
            _ => link.double_vlan(id(7), id(8)).ip(ip),
        };
        step.udp(53, 99).write(&mut bytes, &[1; 40]).unwrap();
        Bytes::from(bytes)
    };
    for tags in 0..3 {
        let offset = ETHERNET + 4 * tags as u32;
        assert_eq!(locate(&mut built(tags, false), ETHERNET), Some(Located::V6(offset)));
        assert_eq!(locate(&mut built(tags, true), ETHERNET), Some(Located::V4(offset)));
        let headers = expect(built(tags, false), Kind::Forward);
        assert_eq!((headers.network, headers.payload), (offset, 48));
        assert_eq!((headers.source_port, headers.destination_port), (Port::new(53), Port::new(99)));
    }
    let tagged = built(2, false).bytes;
    let thrice = [&tagged[..12], &[0x81, 0, 0, 9], &tagged[12..]].concat();
    assert_eq!(locate(&mut Bytes::from(thrice), ETHERNET), None);
    for (ether_type, expected) in
        [(0x0806_u16, None), (0x0800, Some(Located::V4(14))), (0x86dd, Some(Located::V6(14)))]
    {
        let frame = [&[0; 12][..], &ether_type.to_be_bytes()].concat();
        assert_eq!(locate(&mut Bytes::from(frame), ETHERNET), expected);
    }
}

#[test]
fn without_a_link_layer_header_the_device_tells_the_family() {
    let bytes = segment(all_six()).split_off(ETHERNET as usize);
    assert_eq!(locate(&mut Bytes::from(bytes.clone()), 0), Some(Located::V6(0)));
    assert_eq!(locate(&mut Bytes { is_ipv4: true, ..bytes.clone().into() }, 0), Some(Located::V4(0)));
    let mut headers = Headers::<V6>::default();
    assert_eq!(headers.read_at(&mut Bytes::from(bytes), 0), Some(()));
    assert_eq!((headers.network, headers.transport, headers.payload), (0, 40 + 112, 27));
}

#[test]
fn a_packet_that_is_cut_off_anywhere_is_not_believed() {
    let whole = segment(all_six());
    for length in 0..whole.len() {
        match read(whole[..length].to_vec()) {
            None => assert!(length < TRANSPORT as usize),
            Some(headers) => {
                assert!(length >= TRANSPORT as usize && headers.is(Kind::Malformed), "{length}: {headers:?}");
            }
        }
    }
    expect(whole, Kind::Forward);
}

/// The same with a length in the header that says so.
#[test]
fn a_packet_that_ends_within_its_headers_is_malformed() {
    let whole = segment(all_six());
    let ends = whole.len() - 7;
    for length in TRANSPORT as usize..whole.len() {
        for padding in [0, 64] {
            let mut bytes = whole[..length].to_vec();
            bytes[18..20].copy_from_slice(&(length as u16 - TRANSPORT as u16).to_be_bytes());
            bytes.resize(length + padding, 0);
            let kind = if length < ends { Kind::Malformed } else { Kind::Forward };
            let headers = expect(bytes, kind);
            assert!(kind == Kind::Malformed || headers.payload as usize == 20 + length - ends);
        }
    }
}

#[test]
fn what_fills_the_frame_is_no_payload() {
    let bytes = [segment(Ipv6Extensions::default()), vec![0; 9]].concat();
    assert_eq!(expect(bytes, Kind::Forward).payload, 27);
}

#[test]
fn the_first_fragment_has_ports_and_later_ones_have_none() {
    let built = |offset, more| {
        let extensions = Ipv6Extensions {
            destination_options: Some(raw(1)),
            fragment: Some(fragment(offset, more)),
            ..Ipv6Extensions::default()
        };
        let mut bytes = Vec::new();
        ethernet().ip(ip(extensions)).write(&mut bytes, IpNumber::UDP, &udp(3000)).unwrap();
        bytes
    };
    let first = expect(built(0, true), Kind::Forward);
    assert_eq!((first.fragment, first.is_fragment()), (MORE_FRAGMENTS, true));
    assert_eq!((first.source_port, first.destination_port), (Port::new(53), Port::new(99)));
    for (offset, more) in [(1, true), (185, true), (185, false), (0x1fff, false)] {
        let later = expect(built(offset, more), Kind::Fragment);
        assert_eq!(later.fragment, offset | if more { MORE_FRAGMENTS } else { 0 });
        assert_eq!((later.source_port, later.destination_port), Default::default());
        assert_eq!(later.identification.to_ne_bytes(), [1, 2, 3, 4]);
        assert_eq!((later.protocol, later.transport, later.payload), (UDP, TRANSPORT + 16, 8));
    }
    // A datagram that is whole, with a fragment header (RFC 6946): its length has to be right.
    expect(built(0, false), Kind::Malformed);
}

#[test]
fn behind_a_later_fragments_header_is_payload() {
    // What would be options of 2048 bytes.
    let later = chain(&[(FRAGMENT, &[0, 0, 8, 1, 2, 3, 4])], DESTINATION_OPTIONS, &[17, 255, 0, 0]);
    let headers = expect(later, Kind::Fragment);
    assert_eq!((headers.protocol, headers.payload), (DESTINATION_OPTIONS, 4));
}

#[test]
fn reserved_bits_of_a_fragment_header_do_not_count() {
    let whole = chain(&[(FRAGMENT, &[0xff, 0, 6, 1, 2, 3, 4])], UDP, &udp(8));
    assert!(!expect(whole, Kind::Forward).is_fragment());
}

#[test]
fn a_first_fragment_has_all_headers_or_none_is_believed() {
    let split: Extension<'_> = (FRAGMENT, &[0, 0, 1, 1, 2, 3, 4]);
    expect(chain(&[split], UDP, &udp(8)[..7]), Kind::Malformed);
    expect(chain(&[split], DESTINATION_OPTIONS, &[17, 1, 0, 0, 0, 0, 0, 0]), Kind::Malformed);
    expect(chain(&[split], ICMP6, &[128, 0, 0, 0]), Kind::Malformed);
}

#[test]
fn chains_that_no_sender_may_send_are_malformed() {
    let options = options();
    let first: Extension<'_> = (HOP_BY_HOP, &options);
    let one: Extension<'_> = (DESTINATION_OPTIONS, &options);
    let whole: Extension<'_> = (FRAGMENT, &[0, 0, 0, 1, 2, 3, 4]);
    expect(chain(&[first, one], UDP, &udp(8)), Kind::Forward);
    expect(chain(&[one, first], UDP, &udp(8)), Kind::Malformed);
    expect(chain(&[first, first], UDP, &udp(8)), Kind::Malformed);
    expect(chain(&[whole], UDP, &udp(8)), Kind::Forward);
    expect(chain(&[whole, one, whole], UDP, &udp(8)), Kind::Malformed);
    expect(chain(&[one; 6], UDP, &udp(8)), Kind::Forward);
    expect(chain(&[one; 7], UDP, &udp(8)), Kind::Malformed);
    // Shorter than its own fields, and not the eight bytes that it says.
    expect(chain(&[(AUTHENTICATION, &options)], UDP, &udp(8)), Kind::Malformed);
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let good = segment(Ipv6Extensions::default());
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    expect(with(14, 0x4b), Kind::Malformed);
    expect(with(14, 0x7b), Kind::Malformed);
    expect(with(19, 28), Kind::Malformed);
    expect(with(18, 1), Kind::Malformed);
    expect(with(19, 19), Kind::Malformed);
    expect(with(19, 20), Kind::Forward);
    // The segment's own header, and flags that no TCP sends.
    expect(with(66, 0x40), Kind::Malformed);
    expect(with(66, 0x70), Kind::Malformed);
    expect(with(66, 0x60), Kind::Forward);
    expect(with(67, 0x03), Kind::Malformed);
    for (length, kind) in
        [(7, Kind::Malformed), (8, Kind::Forward), (9, Kind::Malformed), (0, Kind::Malformed)]
    {
        expect(chain(&[], UDP, &udp(length)), kind);
    }
    for (length, kind) in [(0, Kind::Forward), (1, Kind::Malformed), (255, Kind::Malformed)] {
        let options = [&[length][..], &OPTIONS].concat();
        expect(chain(&[(ROUTING, &options)], UDP, &udp(8)), kind);
    }
}

/// "BIG TCP": the kernel's own segments of more than 64 KiB, with the jumbo payload option or without.
#[test]
fn without_a_length_what_will_be_cut_is_as_long_as_the_packet() {
    let jumbo = [0, 0xc2, 4, 0, 1, 0x86, 0xa0];
    for extensions in [&[][..], &[(HOP_BY_HOP, &jumbo[..])]] {
        let body = segment(Ipv6Extensions::default()).split_off(TRANSPORT as usize);
        let mut bytes = chain(extensions, TCP, &body);
        bytes[18..20].copy_from_slice(&[0, 0]);
        let headers = expect(Bytes { is_gso: true, ..bytes.clone().into() }, Kind::Forward);
        assert_eq!(headers.payload, 27);
        assert_eq!(headers.transport, TRANSPORT + 8 * extensions.len() as u32);
        expect(bytes, Kind::Malformed);
    }
}

#[test]
fn what_is_hidden_or_unknown_has_no_ports() {
    let options = options();
    // ICMP's number of IPv4 is none of IPv6's; mobility (135) is an extension header to some, and a protocol
    // to the kernel.
    for protocol in [ESP, NO_NEXT_HEADER, ICMP, 135, 255] {
        let headers = expect(chain(&[(DESTINATION_OPTIONS, &options)], protocol, &[0; 20]), Kind::Forward);
        assert_eq!((headers.protocol, headers.payload, headers.icmp_type), (protocol, 20, 0));
        assert_eq!((headers.source_port, headers.destination_port), Default::default());
        assert_eq!(expect(chain(&[], protocol, &[]), Kind::Forward).payload, 0);
    }
}

#[test]
fn icmp_has_kinds_and_queries_an_identifier() {
    let options = options();
    for kind in 0..=u8::MAX {
        let message = [kind, 0, 0, 0, 0x12, 0x34, 0, 1];
        let (expected, source, destination) = match kind {
            128 => (Kind::Forward, 0x1234, 128),
            129 => (Kind::IcmpReply, 128, 0x1234),
            1..=4 => (Kind::IcmpError, 0, 0),
            _ => (Kind::IcmpOther, 0, 0),
        };
        for extensions in [&[][..], &[(HOP_BY_HOP, &options[..])]] {
            let headers = expect(chain(extensions, ICMP6, &message), expected);
            assert_eq!((headers.icmp_type, headers.protocol), (kind, ICMP6));
            assert_eq!(
                (headers.source_port.number(), headers.destination_port.number()),
                (source, destination)
            );
        }
        expect(chain(&[], ICMP6, &message[..7]), Kind::Malformed);
    }
}

/// What is true of any packet.
fn within(headers: &Headers<V6>, packet: &[u8]) {
    let length = packet.len() as u32;
    assert!(headers.network + 40 <= length && headers.transport >= headers.network + 40);
    if !headers.is(Kind::Malformed) {
        assert!(headers.transport <= length && headers.payload <= length - headers.transport);
        assert_eq!(headers.is(Kind::Fragment), headers.fragment & FRAGMENT_OFFSET != 0);
    }
}

prop_compose! {
    fn extensions()(
        hop_by_hop in option::of(1..4usize),
        options in option::of(1..4usize),
        routing in option::of((1..4usize, option::of(1..4usize))),
        split in option::of((prop_oneof![Just(0), 0..0x2000u16], any::<bool>())),
        icv in option::of(0..6usize),
    ) -> Ipv6Extensions {
        Ipv6Extensions {
            hop_by_hop_options: hop_by_hop.map(raw),
            destination_options: options.map(raw),
            routing: routing.map(|(length, last)| Ipv6RoutingExtensions {
                routing: raw(length),
                final_destination_options: last.map(raw),
            }),
            fragment: split.map(|(offset, more)| fragment(offset, more)),
            auth: icv.map(|words| authentication(4 * words)),
        }
    }
}

prop_compose! {
    /// A frame that etherparse has built, with the bytes behind its extension headers.
    fn built()(
        extensions in extensions(),
        protocol in select(vec![TCP, UDP, ICMP6, ESP, NO_NEXT_HEADER, 47, 132]),
        (from, to) in any::<(u16, u16)>(),
        kind in select(vec![1, 2, 3, 4, 128, 129, 133, 135, 136, 137, 143]),
        payload in vec(any::<u8>(), 0..80),
    ) -> Vec<u8> {
        let (step, mut bytes) = (ethernet().ip(ip(extensions)), Vec::new());
        match protocol {
            TCP => step.tcp(from, to, 7, 100).syn().write(&mut bytes, &payload),
            UDP => step.udp(from, to).write(&mut bytes, &payload),
            ICMP6 => step.icmpv6_raw(kind, 0, [1, 2, 3, 4]).write(&mut bytes, &payload),
            other => step.write(&mut bytes, IpNumber(other), &payload),
        }
        .unwrap();
        bytes
    }
}

proptest! {
    #[test]
    fn etherparse_reads_the_same(bytes in built()) {
        let headers = read(bytes.clone()).unwrap();
        prop_assert!(!headers.is(Kind::Malformed), "{:?}", headers);
        within(&headers, &bytes);
        let slice = Ipv6Slice::from_slice(&bytes[ETHERNET as usize..]).unwrap();
        prop_assert_eq!(headers.source, slice.header().source_addr().into());
        prop_assert_eq!(headers.destination, slice.header().destination_addr().into());
        prop_assert_eq!(headers.time_to_live, slice.header().hop_limit());
        prop_assert_eq!(headers.service, slice.header().traffic_class());
        prop_assert_eq!(headers.is_fragment(), slice.is_payload_fragmented());
        if headers.is(Kind::Fragment) {
            return Ok(());
        }
        let payload = slice.payload();
        prop_assert_eq!(headers.protocol, payload.ip_number.0);
        prop_assert_eq!(headers.payload as usize, payload.payload.len());
        prop_assert_eq!(&bytes[headers.transport as usize..], payload.payload);
        if matches!(headers.protocol, TCP | UDP) {
            let port = |at: usize| u16::from_be_bytes([payload.payload[at], payload.payload[at + 1]]);
            prop_assert_eq!((headers.source_port.number(), headers.destination_port.number()), (port(0), port(2)));
        }
    }

    #[test]
    fn any_bytes_are_read_within_the_packet(bytes in vec(any::<u8>(), 0..300), is_gso: bool, is_ipv6: bool) {
        let mut bytes = bytes;
        if is_ipv6 && bytes.len() > 20 {
            bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            bytes[18] = 0;
        }
        if let Some(headers) = read(Bytes { is_gso, ..bytes.clone().into() }) {
            within(&headers, &bytes);
        }
    }

    /// Chains of anything, most of them of extension headers.
    #[test]
    fn any_chain_is_read_within_the_packet(
        numbers in vec(select(vec![HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, TCP, UDP, ICMP6]), 1..10),
        rests in vec(vec(0..4u8, 7..40), 10),
        body in vec(any::<u8>(), 0..60),
    ) {
        let extensions: Vec<_> = numbers[1..].iter().zip(&rests).map(|(number, rest)| (*number, &rest[..])).collect();
        let bytes = chain(&extensions, numbers[0], &body);
        within(&read(bytes.clone()).unwrap(), &bytes);
    }
}
