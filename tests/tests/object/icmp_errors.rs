//! ICMP errors (RFC 5508, sections 4 and 6): what they quote is translated with them, and no flow is changed by them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lab::object::{Body, Context, End, NEW, Object, PLAIN, Packet, key_of};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::Counter::{
    FlowsInbound, HostReserved, IcmpError, IcmpErrorsTranslated,
};
use natbpf_common::wire::protocol::{DCCP, GRE, UDP, UDPLITE};
use natbpf_common::wire::segment::SYN;
use zerocopy::IntoBytes as _;

use super::{A, B, S, one_of_each};

/// A router on the way, and one inside that is no instance.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
const INSIDE_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// Destination unreachable, source quench, time exceeded, parameter problem: types, codes, and the last four
/// bytes of the header.
const KINDS: [(u8, u8, u32); 8] =
    [(3, 0, 0), (3, 1, 0), (3, 3, 0), (3, 4, 1280), (3, 13, 0), (4, 0, 0), (11, 0, 0), (12, 0, 0x1400_0000)];

/// How much of the quoted packet's transport header and payload there is.
const QUOTED: [usize; 6] = [8, 12, 16, 18, 20, 1000];

/// Offset of the ICMP checksum in a frame.
const CHECKSUM: usize = 14 + 20 + 2;

/// A packet of every kind that there is a flow of.
fn packets(source: End) -> Vec<Packet> {
    let other = |protocol| Packet::other(protocol, source.0, SERVER).payload([7; 40]);
    one_of_each(source)
        .into_iter()
        .chain([
            Packet::udp(source, (SERVER, 9001)).without_sum(),
            Packet::udp(source, (SERVER, 9002)).options(10),
            Packet::tcp(source, (SERVER, 9003), SYN).options(3).payload([]),
            other(GRE),
            other(DCCP),
            other(UDPLITE),
        ])
        .collect()
}

/// The beginning of a packet as an error quotes it.
fn quote(packet: &Packet, length: usize) -> Vec<u8> {
    let mut bytes = packet.ip_bytes();
    bytes.truncate(packet.ip.header_len() + length);
    bytes
}

/// Everything in both tables.
fn tables(object: &Object) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let flows = object.entries();
    let flows = flows.iter().map(|(key, entry)| (key.as_bytes().to_vec(), entry.as_bytes().to_vec()));
    let mappings = object.mappings();
    let mappings = mappings.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
    flows.chain(mappings).collect()
}

/// An error from outside arrives at the instance, every byte as a full recomputation has it.
#[track_caller]
fn arrives(object: &mut Object, error: &Packet, expected: &Packet) {
    let after = object.ingress(error).translated(&[IcmpErrorsTranslated]);
    assert_eq!(after, expected.bytes());
}

/// The same of an error that leaves.
#[track_caller]
fn leaves(object: &mut Object, error: &Packet, expected: &Packet) {
    let after = object.egress(error).translated(&[IcmpErrorsTranslated]);
    assert_eq!(after, expected.bytes());
}

/// What the server sends back, as it sends it and as the instance gets it.
fn reply(packet: &Packet, external: End) -> (Packet, Packet) {
    let sent = packet.answer(external);
    let got = sent.clone().with_destination(packet.source());
    (sent, got)
}

#[test]
fn of_every_kind_about_every_packet_that_left() {
    let mut object = Object::default();
    // The second instance cannot keep its ports.
    for instance in [A, B] {
        for packet in packets(instance) {
            let step = object.egress(&packet);
            if step.verdict == lab::object::Verdict::Drop {
                assert!(instance == B && !matches!(packet.ip.protocol.0, 1 | 6 | 17));
                continue;
            }
            let external = lab::object::ends(&step.after).expect("an IPv4 packet").0;
            assert_eq!(external.1 == packet.source().1, instance == A || external.1 == 0);
            let left = packet.clone().with_source(external);
            object.idle(&packet, 5);
            let before = tables(&object);
            for (kind, code, rest) in KINDS {
                for length in QUOTED {
                    for source in [SERVER, ROUTER] {
                        let error = |to, quoted: &Packet| {
                            Packet::icmp_error(source, to, kind, code, rest, &quote(quoted, length))
                        };
                        arrives(&mut object, &error(GATEWAY, &left), &error(instance.0, &packet));
                    }
                }
            }
            assert_eq!(tables(&object), before, "no error changes a flow");
        }
    }
    object.census();
}

#[test]
fn of_every_kind_about_every_answer() {
    let mut object = Object::default();
    for instance in [A, B] {
        for packet in one_of_each(instance) {
            let external = object.begin(&packet, &[]);
            let (sent, got) = reply(&packet, external);
            object.idle(&packet, 5);
            let before = tables(&object);
            for (kind, code, rest) in KINDS {
                for length in QUOTED {
                    let error = |source, quoted: &Packet| {
                        Packet::icmp_error(source, SERVER, kind, code, rest, &quote(quoted, length))
                    };
                    let expected = error(GATEWAY, &sent);
                    for source in [instance.0, INSIDE_ROUTER] {
                        leaves(&mut object, &error(source, &got), &expected);
                    }
                    // The gateway's own: it names itself.
                    leaves(&mut object, &error(GATEWAY, &got), &expected);
                }
            }
            assert_eq!(tables(&object), before, "no error changes a flow");
        }
    }
}

/// A byte of a checksum is no checksum: it stays, and the message's own is right all the same.
#[test]
fn a_quote_cut_off_within_its_checksum() {
    let mut object = Object::default();
    object.out(&Packet::tcp(A, S, SYN), NEW);
    let packet = Packet::tcp(B, S, SYN);
    let external = object.begin(&packet, &[]);
    let left = quote(&packet.clone().with_source(external), 17);
    let mut got = quote(&packet, 17);
    got[36] = left[36];
    let error = |to, quoted: &[u8]| Packet::icmp_error(ROUTER, to, 11, 0, 0, quoted);
    arrives(&mut object, &error(GATEWAY, &left), &error(VM2, &got));
}

/// RFC 4884: what follows the quote is none of our business, and counts in no checksum but the message's.
#[test]
fn extensions_behind_the_quote_stay() {
    const EXTENSION: [u8; 12] = [0x20, 0, 0x78, 0xf2, 0, 8, 1, 1, 0x61, 0xa8, 0x01, 0x01];
    let mut object = Object::default();
    for packet in packets(A) {
        let external = object.out(&packet, NEW);
        let error = |to, quoted: &Packet| {
            let mut bytes = quote(quoted, 1000);
            bytes.resize(128, 0);
            bytes.extend(EXTENSION);
            Packet::icmp_error(ROUTER, to, 11, 0, 32 << 16, &bytes)
        };
        arrives(&mut object, &error(GATEWAY, &packet.clone().with_source(external)), &error(VM1, &packet));
    }
}

/// The message is summed in pieces of 512 bytes. (A test run takes no packets larger than a page.)
#[test]
fn messages_of_every_size() {
    let mut object = Object::default();
    object.out(&Packet::udp(A, S), NEW);
    let packet = |length| Packet::udp(B, S).payload(vec![0xa5; length]);
    let external = object.begin(&packet(0), &[]);
    // 8 bytes of ICMP's header, 20 and 8 of the quote.
    for message in [36, 37, 511, 512, 513, 514, 767, 1023, 1024, 1025, 1480, 2047, 2048, 2049, 3001, 3500] {
        let packet = packet(message - 36);
        let error = |to, quoted: &Packet| Packet::icmp_error(ROUTER, to, 3, 4, 1400, &quoted.ip_bytes());
        let sent = error(GATEWAY, &packet.clone().with_source(external));
        arrives(&mut object, &sent, &error(VM2, &packet));
        // The last byte counts too.
        let mut spoiled = sent.bytes();
        *spoiled.last_mut().expect("a packet has bytes") ^= 0x10;
        object.step(Hook::Ingress, &spoiled, Context::default()).dropped(IcmpError);
    }
}

#[test]
fn outer_options_and_tags() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let left = packet.clone().with_source(external);
    for words in [0, 1, 10] {
        for tags in
            [&[][..], &[lab::object::CUSTOMER_TAG], &[lab::object::PROVIDER_TAG, lab::object::CUSTOMER_TAG]]
        {
            let error = |to, quoted: &Packet| {
                Packet::icmp_error(ROUTER, to, 3, 1, 0, &quoted.ip_bytes()).options(words).tags(tags)
            };
            arrives(&mut object, &error(GATEWAY, &left), &error(VM1, &packet));
        }
    }
}

/// RFC 5508 REQ-3.
#[test]
fn a_wrong_checksum_of_the_message_ends_it() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let (sent, got) = reply(&packet, external);
    let inward =
        Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &packet.clone().with_source(external).ip_bytes());
    let outward = Packet::icmp_error(VM1, SERVER, 3, 3, 0, &got.ip_bytes());
    for (hook, error) in [(Hook::Ingress, inward), (Hook::Egress, outward)] {
        let mut frame = error.bytes();
        frame[CHECKSUM] ^= 1;
        object.step(hook, &frame, Context::default()).dropped(IcmpError);
    }
    object.back(&sent, A);
}

/// RFC 5508 REQ-3: a quote whose header is spoiled says nothing. The transport checksum must not be looked at.
#[test]
fn checksums_within_the_quote() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let left = packet.clone().with_source(external);
    for spoiled in [10, 11] {
        let mut quoted = left.ip_bytes();
        quoted[spoiled] ^= 0x40;
        object.ingress(&Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &quoted)).untouched(&[]);
        let mut quoted = reply(&packet, external).1.ip_bytes();
        quoted[spoiled] ^= 0x40;
        object.egress(&Packet::icmp_error(VM1, SERVER, 3, 3, 0, &quoted)).dropped(IcmpError);
    }
    // Another payload, so another checksum than the packet's own: it changes by as much as the addresses do.
    let other = |packet: &Packet| {
        let mut bytes = packet.ip_bytes();
        *bytes.last_mut().expect("a packet has bytes") ^= 0x55;
        bytes
    };
    let error = |to, quoted: &[u8]| Packet::icmp_error(ROUTER, to, 3, 1, 0, quoted);
    arrives(&mut object, &error(GATEWAY, &other(&left)), &error(VM1, &other(&packet)));
}

#[test]
fn about_nothing_that_is_known() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let left = |packet: &Packet| packet.clone().with_source(external);
    // Another port, another destination, another protocol.
    for unknown in [
        Packet::udp((VM1, 5001), S).with_source((GATEWAY, 5001)),
        left(&Packet::udp(A, (SERVER2, 9000))),
        left(&Packet::tcp(A, S, SYN)),
    ] {
        object.ingress(&Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &unknown.ip_bytes())).untouched(&[]);
    }
    let got = Packet::udp((SERVER2, 9000), A);
    object.egress(&Packet::icmp_error(VM1, SERVER2, 3, 3, 0, &got.ip_bytes())).dropped(IcmpError);
    // Also the gateway's own would show an inside address.
    object.egress(&Packet::icmp_error(GATEWAY, SERVER2, 3, 1, 0, &got.ip_bytes())).dropped(IcmpError);
    // Whose quote is none: too short, of a later fragment, of an error, of nothing.
    let quoted = packet.ip_bytes();
    let error = Packet::icmp_error(VM1, SERVER, 3, 3, 0, &quoted);
    for nothing in [
        quoted[..27].to_vec(),
        packet.clone().fragment(10, false).ip_bytes(),
        error.ip_bytes(),
        Vec::new(),
        vec![0xff; 60],
    ] {
        object.ingress(&Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &nothing)).untouched(&[]);
        object.egress(&Packet::icmp_error(VM1, SERVER, 3, 3, 0, &nothing)).dropped(IcmpError);
        object.egress(&Packet::icmp_error(GATEWAY, SERVER, 3, 3, 0, &nothing)).untouched(&[]);
    }
}

/// An error goes to who sent what it quotes.
#[test]
fn to_somebody_else_than_who_sent_it() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let left = packet.clone().with_source(external).ip_bytes();
    object.ingress(&Packet::icmp_error(ROUTER, SERVER2, 3, 1, 0, &left)).untouched(&[]);
    let (_, got) = reply(&packet, external);
    object.egress(&Packet::icmp_error(VM1, SERVER2, 3, 3, 0, &got.ip_bytes())).dropped(IcmpError);
}

#[test]
fn about_a_flow_that_is_over() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let inward =
        Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &packet.clone().with_source(external).ip_bytes());
    let outward = Packet::icmp_error(VM1, SERVER, 3, 3, 0, &reply(&packet, external).1.ip_bytes());
    object.idle(&packet, 100);
    object.ingress(&inward).untouched(&[]);
    object.egress(&outward).dropped(IcmpError);
    object.idle(&packet, 0);
    object.kill(&[key_of(&packet)]);
    object.ingress(&inward).untouched(&[]);
    object.egress(&outward).dropped(IcmpError);
}

/// They are for the first hop, which is the gateway.
#[test]
fn redirects_end_at_the_gateway() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    let left = packet.clone().with_source(external);
    object.ingress(&Packet::icmp_error(ROUTER, GATEWAY, 5, 1, 0, &left.ip_bytes())).dropped(IcmpError);
    let (_, got) = reply(&packet, external);
    object.egress(&Packet::icmp_error(VM1, SERVER, 5, 1, 0, &got.ip_bytes())).dropped(IcmpError);
    object.egress(&Packet::icmp_error(VM1, SERVER, 5, 1, 0, &left.ip_bytes())).dropped(IcmpError);
}

#[test]
fn about_the_hosts_own_traffic() {
    let mut object = Object::default();
    let own = Packet::udp((GATEWAY, 5000), S);
    let ping = Packet::echo(GATEWAY, SERVER, 7);
    object.egress(&own).untouched(&[]);
    object.egress(&ping).untouched(&[HostReserved]);
    for packet in [own, ping] {
        object.ingress(&Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &packet.ip_bytes())).untouched(&[]);
        let answer = packet.answer((GATEWAY, packet.source().1));
        object.egress(&Packet::icmp_error(GATEWAY, SERVER, 3, 3, 0, &answer.ip_bytes())).untouched(&[]);
    }
}

/// The host's flow that had to be moved knows itself by the port that it has inside.
#[test]
fn about_a_flow_of_the_host_that_was_moved() {
    use natbpf_common::contract::counter::Counter::{FlowsCreated, HostMoved, PortsChanged};
    let mut object = Object::default();
    object.out(&Packet::udp(A, S), NEW);
    let own = Packet::udp((GATEWAY, 5000), S);
    let moved = object.out(&own, &[FlowsCreated, HostMoved, PortsChanged]);
    let error = |quoted: &Packet| Packet::icmp_error(ROUTER, GATEWAY, 3, 1, 0, &quoted.ip_bytes());
    arrives(&mut object, &error(&own.clone().with_source(moved)), &error(&own));
}

#[test]
fn from_sources_that_are_not_masqueraded() {
    let mut object = Object::default();
    let stranger = Ipv4Addr::new(192, 0, 2, 1);
    let got = Packet::udp(S, (stranger, 7));
    object.egress(&Packet::icmp_error(stranger, SERVER, 3, 3, 0, &got.ip_bytes())).untouched(&[]);
    // But what it quotes is: nothing of that may leave.
    let got = Packet::udp(S, A);
    object.egress(&Packet::icmp_error(stranger, SERVER, 3, 3, 0, &got.ip_bytes())).dropped(IcmpError);
}

#[test]
fn about_flows_toward_inside_addresses() {
    let mut object = Object::default();
    let packet = Packet::udp(S, A);
    object.ingress(&packet).untouched(&[]);
    let error = Packet::icmp_error(VM1, SERVER, 3, 3, 0, &packet.ip_bytes());
    object.egress(&error).untouched(&[]);
    let answer = Packet::udp(A, S);
    object.egress(&answer).untouched(&[FlowsInbound]);
    object.egress(&error).untouched(&[]);
    object.ingress(&Packet::icmp_error(ROUTER, VM1, 3, 3, 0, &answer.ip_bytes())).untouched(&[]);
}

#[test]
fn about_flows_that_began_outside() {
    let mut object = Object::new(PLAIN);
    object.forward(UDP, 8080, (VM1, 53));
    let client = (SERVER, 40000);
    let asked = Packet::udp(client, (GATEWAY, 8080));
    let got = asked.clone().with_destination((VM1, 53));
    object.back(&asked, (VM1, 53));
    let error = |source, quoted: &Packet| Packet::icmp_error(source, SERVER, 3, 3, 0, &quoted.ip_bytes());
    // Nobody there, which is no answer that begins a flow.
    leaves(&mut object, &error(VM1, &got), &error(GATEWAY, &asked));
    assert_eq!(object.entries().len(), 0);
    let answer = Packet::udp((VM1, 53), client);
    object.out(&answer, &[FlowsInbound]);
    leaves(&mut object, &error(VM1, &got), &error(GATEWAY, &asked));
    let left = answer.clone().with_source((GATEWAY, 8080));
    let error = |to, quoted: &Packet| Packet::icmp_error(ROUTER, to, 3, 4, 1280, &quoted.ip_bytes());
    arrives(&mut object, &error(GATEWAY, &left), &error(VM1, &answer));
}

/// An echo reply of an instance with an address of its own, too long for a router on the way.
#[test]
fn about_answers_to_queries_from_outside() {
    let address = Ipv4Addr::new(203, 0, 113, 50);
    let mut object = Object::default();
    object.float(address, VM1);
    object.set_rules(&[(lab::object::LO, "10.0.0.11/32", lab::object::floating(address))], &[]);
    let query = Packet::echo(SERVER, address, 77);
    object.back(&query, (VM1, 77));
    let answer = Packet::icmp(VM1, SERVER, 0, 77);
    object.leave(&answer, &[FlowsInbound]);
    let left = answer.clone().with_source((address, 77));
    assert!(matches!(left.body, Body::Icmp { id: 77, .. }));
    let error = |to, quoted: &Packet| Packet::icmp_error(ROUTER, to, 3, 4, 1280, &quoted.ip_bytes());
    arrives(&mut object, &error(address, &left), &error(VM1, &answer));
}
