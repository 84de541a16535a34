//! Packets whose path through the kernel is known: changed as the kernel has changed others, and sent there.

use lab::object::{Context, NEW, NEXT_HOP, Object, Packet, key_of};
use lab::{GATEWAY, VM1};
use natbpf::datapath::Hook;
use natbpf_common::IfIndex;
use natbpf_common::SECOND;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::flow::FlowKey;
use natbpf_common::path::cell::{Path, PathFlags};
use natbpf_common::wire::family::V4;
use natbpf_common::wire::protocol::GRE;
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN};

use super::{A, S, one_of_each};

const OUT: &[Counter] = &[Counter::EgressOffloaded, Counter::PacketsRepeated];
const BACK: &[Counter] = &[Counter::IngressOffloaded, Counter::PacketsRepeated];

/// What a packet looks like on its way: other addresses on the link, one less of time to live.
fn routed(packet: &Packet) -> Vec<u8> {
    let mut frame = packet.clone().ttl(packet.ip.time_to_live - 1).bytes();
    frame[..12].copy_from_slice(&NEXT_HOP);
    frame
}

/// A running flow of each protocol, both of whose ways are known: the object, and a packet of each.
fn running() -> (Object, [Packet; 3]) {
    let mut object = Object::default();
    object.offload();
    let packets = one_of_each(A);
    for packet in &packets {
        object.out(packet, NEW);
        let reply = packet.answer((GATEWAY, A.1)).flags(SYN | ACK);
        object.back(&reply, A);
        let (key, reply_key) = (key_of(packet), object.reply_key(packet));
        object.egress(&packet.clone().flags(ACK)).translated(&[]);
        object.note(&key, |_| {});
        object.note(&reply_key, |_| {});
    }
    (object, packets.map(|packet| packet.flags(ACK)))
}

fn tcp() -> (Object, Packet, FlowKey) {
    let (object, [packet, ..]) = running();
    let key = key_of(&packet);
    (object, packet, key)
}

#[test]
fn from_the_port_to_the_uplink_and_back() {
    let (mut object, packets) = running();
    for packet in packets {
        for packet in [packet.clone(), packet.clone().flags(ACK | PSH), packet.clone().payload(vec![7; 1400])]
        {
            let after = object.port(&packet).redirected(OUT);
            assert_eq!(after, routed(&packet.clone().with_source((GATEWAY, A.1))), "{packet:?}");
        }
        let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
        let after = object.ingress(&reply).redirected(BACK);
        assert_eq!(after, routed(&reply.clone().with_destination(A)), "{reply:?}");
    }
    object.census();
}

#[test]
fn a_port_that_was_changed_is_changed() {
    let mut object = Object::new(lab::object::to_ports(40000, 40000));
    object.offload();
    for (packet, counted) in
        [(Packet::udp(A, S), lab::object::NEW_PORT), (Packet::tcp(A, S, SYN), lab::object::NEW_PORT)]
    {
        object.out(&packet, counted);
        object.back(&packet.answer((GATEWAY, 40000)).flags(SYN | ACK), A);
        let (key, reply_key) = (key_of(&packet), object.reply_key(&packet));
        let packet = packet.flags(ACK);
        object.egress(&packet).translated(&[]);
        object.note(&key, |_| {});
        object.note(&reply_key, |_| {});
        let after = object.port(&packet).redirected(OUT);
        assert_eq!(after, routed(&packet.clone().with_source((GATEWAY, 40000))));
        let reply = packet.answer((GATEWAY, 40000)).flags(ACK);
        assert_eq!(object.ingress(&reply).redirected(BACK), routed(&reply.clone().with_destination(A)));
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let (mut object, [_, udp, _]) = running();
    let packet = udp.without_sum();
    let after = object.port(&packet).redirected(OUT);
    assert_eq!(after, routed(&packet.clone().with_source((GATEWAY, A.1))));
}

/// At the uplink it is dealt with as ever.
#[track_caller]
fn takes_the_slow_path(object: &mut Object, packet: &Packet) {
    object.port(packet).untouched(&[]);
}

#[test]
fn only_plain_packets() {
    let (mut object, packet, _) = tcp();
    for other in [
        packet.clone().ttl(1),
        packet.clone().ttl(0),
        packet.clone().options(1),
        packet.clone().fragment(0, true),
        packet.clone().fragment(10, false),
        packet.clone().tags(&[lab::object::CUSTOMER_TAG]),
        packet.clone().payload(vec![0; 1461]),
        Packet::icmp_error(VM1, S.0, 3, 3, 0, &packet.answer(A).ip_bytes()),
        Packet::other(GRE, VM1, S.0),
        Packet::tcp((VM1, 5001), S, ACK),
    ] {
        takes_the_slow_path(&mut object, &other);
    }
    object.port(&packet).redirected(OUT);
    // The same of a reply: translated, and on through the stack.
    let reply = packet.answer((GATEWAY, A.1));
    for other in [reply.clone().flags(ACK).ttl(1), reply.clone().flags(ACK).payload(vec![0; 1461])] {
        object.back(&other, A);
    }
}

/// A connection that begins or ends ends what was noted of it, both ways.
#[test]
fn segments_that_begin_or_end_a_connection() {
    for flags in [SYN, ACK | FIN, RST] {
        let (mut object, packet, _) = tcp();
        object.port(&packet).redirected(OUT);
        takes_the_slow_path(&mut object, &packet.clone().flags(flags));
        takes_the_slow_path(&mut object, &packet);
        object.back(&packet.answer((GATEWAY, A.1)).flags(ACK), A);
    }
}

/// Another class of service may go another way; a header that is damaged, and what stands behind the packet,
/// are the kernel's to judge.
#[test]
fn only_sound_packets_of_the_class_that_was_noted() {
    let (mut object, packet, key) = tcp();
    let mut marked = packet.clone();
    marked.ip.dscp = etherparse::IpDscp::try_new(46).expect("6 bits");
    takes_the_slow_path(&mut object, &marked);
    let mut congested = packet.clone();
    congested.ip.ecn = etherparse::IpEcn::try_new(3).expect("2 bits");
    object.port(&congested).redirected(OUT);
    let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
    let mut marked = reply.clone();
    marked.ip.dscp = etherparse::IpDscp::try_new(46).expect("6 bits");
    object.back(&marked, A);

    let mut frame = packet.bytes();
    frame[14 + 10] ^= 1;
    object.step(Hook::PortIngress, &frame, Context::default()).untouched(&[]);
    let mut frame = packet.bytes();
    frame.push(0);
    object.step(Hook::PortIngress, &frame, Context::default()).untouched(&[]);
    let mut frame = reply.bytes();
    frame.extend([0; 4]);
    object.step(Hook::Ingress, &frame, Context::default()).translated(&[]);
    // As short ones are filled up on the wire.
    let mut short = packet.clone().payload([]).bytes();
    short.resize(60, 0);
    object.step(Hook::PortIngress, &short, Context::default()).redirected(OUT);
    object.port(&packet).redirected(OUT);

    // To many: what was noted would be one way of several.
    let group = Packet::udp(A, (std::net::Ipv4Addr::new(239, 1, 2, 3), 9000));
    object.out(&group, NEW);
    object.note(&key_of(&group), |_| {});
    takes_the_slow_path(&mut object, &group);
    assert!(object.entry(&key).is_some());
}

/// What was noted is of the frames that came to this machine, or by this bridge.
#[test]
fn frames_for_other_machines_are_left_alone() {
    let (mut object, packet, _) = tcp();
    let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
    object.ingress(&reply).redirected(BACK);
    for (hook, packet) in [(Hook::Ingress, &reply), (Hook::PortIngress, &packet)] {
        let mut frame = packet.bytes();
        frame[5] ^= 0x77;
        object.step(hook, &frame, Context::default()).untouched(&[]);
    }
    lab::object::ip("link set lo address 02:00:00:00:00:77");
    object.inside(&Packet::tcp(A, (GATEWAY, 1), SYN)).untouched(&[]);
}

#[test]
fn segments_count_and_not_what_they_are_cut_from() {
    let (mut object, packet, key) = tcp();
    let long = packet.payload(vec![0; 2500]);
    let frame = long.bytes();
    takes_the_slow_path(&mut object, &long);
    // Segments of 1000 bytes.
    let context = Context { segments: 3, ..Context::default() };
    object.step(Hook::PortIngress, &frame, context).redirected(OUT);
    object.note(&key, |path| path.size = 1039);
    object.step(Hook::PortIngress, &frame, context).untouched(&[]);
    object.note(&key, |path| path.size = 1040);
    object.step(Hook::PortIngress, &frame, context).redirected(OUT);
}

#[test]
fn only_while_it_holds() {
    let (mut object, packet, key) = tcp();
    object.port(&packet).redirected(OUT);
    object.next_epoch();
    takes_the_slow_path(&mut object, &packet);
    object.offload();
    object.note(&key, |path| path.until = path.until - 11 * SECOND);
    takes_the_slow_path(&mut object, &packet);
    object.note(&key, |path| path.until = Path::<V4>::NEVER);
    takes_the_slow_path(&mut object, &packet);
    object.note(&key, |_| {});
    object.port(&packet).redirected(OUT);
    object.set_gauge(Gauge::Epoch, 0);
    takes_the_slow_path(&mut object, &packet);
}

/// Gives `lo` the address that the frame is for.
fn receive_as(frame: &[u8]) {
    let address: Vec<String> = frame[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    lab::object::ip(&format!("link set lo address {}", address.join(":")));
}

#[test]
fn only_by_the_frame_and_the_port_that_were_noted() {
    let (mut object, packet, key) = tcp();
    let mut frame = packet.bytes();
    for byte in 0..12 {
        frame[byte] ^= 4;
        receive_as(&frame);
        object.step(Hook::PortIngress, &frame, Context::default()).untouched(&[]);
        frame[byte] ^= 4;
    }
    receive_as(&frame);
    object.step(Hook::PortIngress, &frame, Context::default()).redirected(OUT);
    object.note(&key, |path| path.key.edge = IfIndex::new(9));
    takes_the_slow_path(&mut object, &packet);
    let mut frame = packet.answer((GATEWAY, A.1)).flags(ACK).bytes();
    for byte in 0..12 {
        frame[byte] ^= 4;
        if byte < 6 {
            // For another machine on the link.
            object.step(Hook::Ingress, &frame, Context::default()).untouched(&[]);
            receive_as(&frame);
        }
        object.step(Hook::Ingress, &frame, Context::default()).translated(&[]);
        frame[byte] ^= 4;
        receive_as(&frame);
    }
}

/// What leaves is compared with it. (A test run has no `tc_index` that would name it there.)
#[test]
fn where_nothing_holds_the_frame_is_remembered_until_it_leaves() {
    let (mut object, packet, key) = tcp();
    let path = object.path(&key);
    object.note(&key, |path| path.until = Path::<V4>::NEVER);
    let before = object.claims();
    for number in 1..=3 {
        takes_the_slow_path(&mut object, &packet);
        assert_eq!(object.claims(), before + number);
    }
    let passage = object.passage(before + 3);
    assert_eq!((passage.key, passage.frame), (path.key, path.frame));
    assert_eq!((passage.claim, passage.left, passage.epoch), (before + 3, 0, path.epoch));
    assert_eq!(passage.contents.time_to_live, packet.ip.time_to_live);
    // At the uplink it is one of many packets: nothing says that it is this one.
    object.egress(&packet).translated(&[]);
    assert_eq!(object.noted(&key).map(|path| path.until), Some(Path::<V4>::NEVER));
}

/// What begins or ends a connection ends the paths in both directions.
#[test]
fn a_flow_that_ends_is_no_more_repeated() {
    for flags in [SYN, FIN | ACK, RST] {
        let (mut object, packet, key) = tcp();
        let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
        object.ingress(&reply).redirected(BACK);
        takes_the_slow_path(&mut object, &packet.clone().flags(flags));
        takes_the_slow_path(&mut object, &packet);
        object.ingress(&reply).translated(&[]);
        let reply_key = object.reply_key(&packet);
        for key in [key, reply_key] {
            assert_eq!(object.noted(&key).map(|path| path.until), Some(Path::<V4>::NEVER), "{flags:?}");
        }
    }
}

#[test]
fn a_flow_that_was_ended_is_no_more_repeated() {
    let (mut object, packet, key) = tcp();
    object.kill(&[key]);
    takes_the_slow_path(&mut object, &packet);
    object.out(&packet, &[Counter::FlowsRemapped]);
    takes_the_slow_path(&mut object, &packet);
}

#[test]
fn the_peer_of_a_veth_is_reached_as_any_port() {
    let (mut object, packet, _) = tcp();
    let reply_key = object.reply_key(&packet);
    object.note(&reply_key, |path| path.flags |= PathFlags::PEER);
    let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
    assert_eq!(object.ingress(&reply).redirected(BACK), routed(&reply.clone().with_destination(A)));
}

/// The XDP programs do the same.
#[test]
fn xdp_repeats_too() {
    let (mut object, packets) = running();
    object.set_xdp_target(true);
    for packet in packets {
        for packet in [packet.clone(), packet.clone().payload(vec![7; 1400]), packet.clone().without_sum()] {
            let (redirected, after) = object.runner().run_xdp(&packet.bytes());
            assert!(redirected, "{packet:?}");
            assert_eq!(after, routed(&packet.clone().with_source((GATEWAY, A.1))), "{packet:?}");
        }
        let reply = packet.answer((GATEWAY, A.1)).flags(ACK);
        let (redirected, after) = object.runner().run_xdp(&reply.bytes());
        assert!(redirected, "{reply:?}");
        assert_eq!(after, routed(&reply.clone().with_destination(A)), "{reply:?}");
    }
    object.set_xdp_target(false);
}

#[test]
fn xdp_passes_the_rest_on_as_it_came() {
    let (mut object, packet, key) = tcp();
    let passes = |object: &mut Object, packet: &Packet| {
        let frame = packet.bytes();
        assert_eq!(object.runner().run_xdp(&frame), (false, frame), "{packet:?}");
    };
    // Nobody takes the frame.
    passes(&mut object, &packet);
    object.set_xdp_target(true);
    for other in [
        packet.clone().flags(SYN),
        packet.clone().flags(ACK | FIN),
        packet.clone().ttl(1),
        packet.clone().options(1),
        packet.clone().fragment(0, true),
        packet.clone().tags(&[lab::object::CUSTOMER_TAG]),
        packet.clone().payload(vec![0; 1461]),
        Packet::other(GRE, VM1, S.0),
        Packet::udp((VM1, 1), S),
    ] {
        passes(&mut object, &other);
    }
    object.note(&key, |path| path.until = Path::<V4>::NEVER);
    passes(&mut object, &packet);
    object.note(&key, |path| path.key.edge = IfIndex::new(9));
    passes(&mut object, &packet);
    object.note(&key, |_| {});
    assert!(object.runner().run_xdp(&packet.bytes()).0);
    object.set_xdp_target(false);
}

/// Tags are in the frame there: they are taken out, put in and exchanged.
#[test]
fn xdp_changes_tags() {
    const TAG: u32 = 0x0081_0000;
    let (mut object, packet, key) = tcp();
    object.set_xdp_target(true);
    let tagged = |packet: &Packet| packet.clone().tags(&[lab::object::CUSTOMER_TAG]);
    let (from, to) = (u32::from(lab::object::CUSTOMER_TAG.1) | TAG, 0x2a | TAG);
    let out = packet.clone().with_source((GATEWAY, A.1));
    for (before, after) in [(0, to), (from, 0), (from, to), (from, from)] {
        object.note_tagged(&key, before, after);
        let frame = if before == 0 { packet.bytes() } else { tagged(&packet).bytes() };
        let (redirected, seen) = object.runner().run_xdp(&frame);
        assert!(redirected, "{before:#x} {after:#x}");
        let mut expected = routed(&if after == 0 { out.clone() } else { tagged(&out) });
        if after != 0 {
            expected[14..16].copy_from_slice(&(after as u16).to_be_bytes());
        }
        assert_eq!(seen, expected, "{before:#x} {after:#x}");
    }
    object.set_xdp_target(false);
}
