//! Packets for the tests: built by etherparse, then damaged.

use etherparse::{
    IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header,
    Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, PacketBuilderStep,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::Reached;
use crate::input::CHOICES;

const CASES: u32 = 20_000;

/// Runs a check on the same inputs every time. A good part of them has to reach the end of it.
pub fn run(check: impl Fn(&[u8]) -> Reached, inputs: impl Strategy<Value = Vec<u8>>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let whole = std::cell::Cell::new(0);
    let result = runner.run(&inputs, |input| {
        whole.set(whole.get() + u32::from(check(&input) == Reached::Whole));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(whole.get() > CASES / 4, "only {} of {CASES} inputs show anything", whole.get());
}

/// Choices before a packet, which is damaged sometimes: a byte changed, or its end cut off.
pub fn input(packet: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![2 => Just(vec![]), 1 => vec((any::<Index>(), any::<u8>()), 1..4)];
    let cut = prop_oneof![4 => Just(None), 1 => any::<Index>().prop_map(Some)];
    // Mostly an Ethernet header, one segment and IPv4 where the device is asked.
    let flags = prop_oneof![4 => any::<u8>().prop_map(|flags| flags & 0xf0), 1 => any::<u8>()];
    (packet, flags, vec(any::<u8>(), CHOICES - 1), damage, cut).prop_map(
        |(mut packet, flags, choices, damage, cut)| {
            for (at, value) in damage.iter().filter(|_| !packet.is_empty()).collect::<Vec<_>>() {
                let at = at.index(packet.len());
                packet[at] = *value;
            }
            if let Some(cut) = cut {
                packet.truncate(cut.index(packet.len() + 1));
            }
            [vec![flags], choices, packet].concat()
        },
    )
}

fn step(link: bool, header: Ipv4Header) -> PacketBuilderStep<etherparse::IpHeaders> {
    let headers = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
    if link { PacketBuilder::ethernet2([2; 6], [4; 6]).ip(headers) } else { PacketBuilder::ip(headers) }
}

/// An IPv4 packet, with an Ethernet header or without.
fn built(link: bool) -> impl Strategy<Value = Vec<u8>> {
    let ends = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>());
    let protocol = select(vec![1_u8, 6, 6, 17, 17, 33, 47, 136]);
    let fragment = prop_oneof![9 => Just((0, false)), 1 => (0..0x2000_u16, any::<bool>())];
    let icmp = select(vec![0_u8, 3, 8, 8, 13, 14, 17, 18, 30]);
    let payload = vec(any::<u8>(), 0..64);
    (ends, protocol, fragment, 0..=10_usize, icmp, any::<u8>(), payload).prop_map(
        move |((source, destination, from, to), protocol, fragment, options, icmp, flags, payload)| {
            let mut header = Ipv4Header::new(0, 64, IpNumber(protocol), source, destination).expect("short");
            header.options = vec![1; options * 4].as_slice().try_into().expect("10 words at most");
            header.fragment_offset = IpFragOffset::try_new(fragment.0).expect("13 bits");
            header.more_fragments = fragment.1;
            let step = step(link, header);
            let mut bytes = Vec::new();
            match protocol {
                6 => {
                    let mut step = step.tcp(from, to, 7, 100);
                    step = if flags & 1 != 0 { step.syn() } else { step.ack(9) };
                    step.write(&mut bytes, &payload)
                }
                17 => step.udp(from, to).write(&mut bytes, &payload),
                1 => {
                    let [a, b] = from.to_be_bytes();
                    step.icmpv4_raw(icmp, 0, [a, b, 0, 1]).write(&mut bytes, &payload)
                }
                other => step.write(&mut bytes, IpNumber(other), &payload),
            }
            .expect("a vector takes all");
            bytes
        },
    )
}

pub fn packet() -> impl Strategy<Value = Vec<u8>> {
    built(true)
}

/// An IPv6 packet with an Ethernet header, tags and extension headers.
pub fn packet6() -> impl Strategy<Value = Vec<u8>> {
    let ends = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>());
    let protocol = select(vec![58_u8, 58, 6, 6, 17, 17, 50, 59, 135]);
    let icmp = select(vec![1_u8, 2, 3, 4, 128, 128, 129, 133, 135, 136, 137, 143]);
    let payload = vec(any::<u8>(), 0..64);
    (ends, protocol, icmp, extensions(), vec(select(vec![0x8100_u16, 0x88a8]), 0..3), payload).prop_map(
        |((source, destination, from, to), protocol, icmp, extensions, tags, payload)| {
            let header = Ipv6Header { source, destination, hop_limit: 64, ..Ipv6Header::default() };
            let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let step = link.ip(etherparse::IpHeaders::Ipv6(header, extensions));
            let mut bytes = Vec::new();
            match protocol {
                6 => step.tcp(from, to, 7, 100).ack(9).write(&mut bytes, &payload),
                17 => step.udp(from, to).write(&mut bytes, &payload),
                58 => step.icmpv6_raw(icmp, 0, [1, 2, 3, 4]).write(&mut bytes, &payload),
                other => step.write(&mut bytes, IpNumber(other), &payload),
            }
            .expect("a vector takes all");
            let tags = tags.iter().flat_map(|tag| [tag.to_be_bytes(), [0, 7]]).flatten();
            bytes.splice(12..12, tags);
            bytes
        },
    )
}

fn extensions() -> impl Strategy<Value = Ipv6Extensions> {
    let options = || weighted(0.3, (1..4_usize).prop_map(raw));
    let fragment =
        weighted(0.3, (prop_oneof![4 => Just(0), 1 => 0..0x2000_u16], any::<bool>(), any::<u32>()));
    let icv = weighted(0.3, 0..6_usize);
    (options(), options(), weighted(0.3, ((1..4_usize).prop_map(raw), options())), fragment, icv).prop_map(
        |(hop_by_hop_options, destination_options, routing, fragment, icv)| Ipv6Extensions {
            hop_by_hop_options,
            destination_options,
            routing: routing
                .map(|(routing, last)| Ipv6RoutingExtensions { routing, final_destination_options: last }),
            fragment: fragment.map(|(offset, more, id)| {
                let offset = IpFragOffset::try_new(offset).expect("13 bits");
                Ipv6FragmentHeader::new(IpNumber(0), offset, more, id)
            }),
            auth: icv
                .map(|words| IpAuthHeader::new(IpNumber(0), 1, 2, &[7; 24][..words * 4]).expect("words")),
        },
    )
}

/// An extension header of so many times eight bytes.
fn raw(length: usize) -> Ipv6RawExtHeader {
    Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![1; length * 8 - 2]).expect("a multiple of eight")
}

/// An ICMP error's header and a packet that it quotes.
pub fn error() -> impl Strategy<Value = Vec<u8>> {
    (select(vec![3_u8, 4, 5, 11, 12]), any::<[u8; 4]>(), built(false))
        .prop_map(|(kind, rest, quoted)| [&[kind, 0, 0, 0], &rest[..], &quoted[..]].concat())
}
