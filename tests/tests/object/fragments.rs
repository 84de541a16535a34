//! Datagrams in pieces: all of them get what the first one gets, whenever it comes.
//!
//! What is sent round is caught at `lo`, where no program is attached, and brought to the program again.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use etherparse::EtherType;
use lab::conformance::fragments::fragments;
use lab::object::{CUSTOMER_TAG, Context, LO, NEW, Object, PLAIN, PROVIDER_TAG, Packet, Step, Verdict};
use lab::wire::Wire;
use lab::{GATEWAY, SERVER, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::contract::{forwards::External, rules::Rule};
use natbpf_common::nat::fragment::{DATAGRAMS, KEPT, LONGEST, PLACES};
use natbpf_common::wire::segment::SYN;

use super::{A, B, S, one_of_each};

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

const KEPT_ONE: &[Counter] = &[Counter::FragmentKept];

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A packet of each kind that is translated in its own way, with something to say.
fn packets() -> Vec<Packet> {
    let mut packets = one_of_each(A).to_vec();
    packets.push(Packet::udp(A, S).without_sum());
    // GRE, SCTP, UDP-Lite, DCCP.
    packets.extend([47, 132, 136, 33].map(|protocol| Packet::other(protocol, VM1, SERVER)));
    packets.into_iter().map(|packet| packet.payload((0..70).collect::<Vec<u8>>())).collect()
}

/// In three pieces; each with the tags and options of the whole.
fn cut(packet: &Packet) -> Vec<Packet> {
    let pieces = fragments(packet, 32);
    assert!(pieces.len() >= 3);
    let (first, rest) = pieces.split_at(2);
    let mut last = rest[0].clone();
    last.payload = rest.iter().flat_map(|piece| piece.payload.clone()).collect();
    last.ip.more_fragments = false;
    let three = [first, &[last]].concat();
    three.into_iter().map(|piece| Packet { tags: packet.tags.clone(), ..piece }).collect()
}

fn bytes(pieces: &[Packet]) -> Vec<Vec<u8>> {
    pieces.iter().map(Packet::bytes).collect()
}

fn hook(leaves: bool) -> Hook {
    if leaves { Hook::Egress } else { Hook::Ingress }
}

/// The identification of an untagged frame.
fn id(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[18], frame[19]])
}

/// MAC address of who sends, as [`Packet::bytes`] has it.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Frames that are sent out by `lo`, or received by it.
struct Loop {
    wire: Wire,
    leaving: bool,
}

impl Loop {
    /// After the object, whose namespace it listens in.
    fn new(leaving: bool) -> Self {
        Self { wire: Wire::here("lo").expect("a packet socket"), leaving }
    }

    /// All that were, as many as are expected and no more.
    #[track_caller]
    fn frames(&self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let limit = |frames: &Vec<_>| Duration::from_millis(if frames.len() < count { 1000 } else { 30 });
        while let Some((frame, outgoing)) =
            self.wire.next_frame(limit(&frames)).expect("a packet socket works")
        {
            // What leaves `lo` arrives there, too; and the host, which gets what arrives, has answers of its own.
            if outgoing == self.leaving && frame[6..12] == SENDER {
                frames.push(frame);
            }
        }
        assert_eq!(frames.len(), count, "{frames:02x?}");
        frames
    }
}

/// Sends frames through a program, and what is sent round once more; returns how they went on.
#[track_caller]
fn send(object: &mut Object, leaves: bool, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let round = Loop::new(leaves);
    let mut went = Vec::new();
    let mut replays = 0;
    for frame in frames {
        let step = object.step(hook(leaves), frame, Context::default());
        let drops = step.counted.keys().any(|name| is_drop(name));
        assert!(!drops, "{:?}", step.counted);
        let kept = step.counted.contains_key(Counter::FragmentKept.name());
        match step.verdict {
            Verdict::Pass if kept => assert_eq!(step.before, step.after),
            Verdict::Pass => went.push(step.after),
            Verdict::Redirect => panic!("a fragment was sent elsewhere"),
            Verdict::Drop if kept => {}
            Verdict::Drop => {
                replays += 1;
                for frame in round.frames(frames.len() - went.len() - still_to_come(frames, frame)) {
                    let step = object.step(hook(leaves), &frame, Context::default());
                    assert_eq!(step.verdict, Verdict::Pass, "{:?}", step.counted);
                    went.push(step.after);
                }
            }
        }
    }
    assert!(replays <= 1);
    assert_eq!(round.frames(0).len(), 0);
    went
}

fn is_drop(name: &str) -> bool {
    use natbpf_common::contract::counter::Kind;
    Counter::ALL.iter().any(|counter| counter.name() == name && counter.kind() == Kind::Drop)
}

fn still_to_come(frames: &[Vec<u8>], frame: &Vec<u8>) -> usize {
    frames.len() - 1 - frames.iter().position(|other| other == frame).unwrap_or(0)
}

#[test]
fn in_every_order_they_leave_with_one_address_and_one_identification() {
    for packet in packets() {
        for order in ORDERS {
            let mut object = Object::default();
            let pieces = cut(&packet);
            let sent: Vec<_> = order.iter().map(|number| pieces[*number].bytes()).collect();
            let went = send(&mut object, true, &sent);
            let expected =
                bytes(&cut(&packet.clone().with_source((GATEWAY, packet.source().1)).id(id(&went[0]))));
            assert_eq!(sorted(went), sorted(expected), "{order:?} of {packet:?}");
            assert_eq!(object.datagrams().len(), 0, "it is whole, and not forgotten");
        }
    }
}

#[test]
fn in_every_order_they_arrive_at_the_instance() {
    for packet in packets() {
        for order in ORDERS {
            let mut object = Object::default();
            let external = object.out(&packet, NEW);
            let answer = packet.answer(external).payload((0..90).collect::<Vec<u8>>());
            let pieces = cut(&answer);
            let sent: Vec<_> = order.iter().map(|number| pieces[*number].bytes()).collect();
            let went = send(&mut object, false, &sent);
            let expected = bytes(&cut(&answer.clone().with_destination(packet.source())));
            assert_eq!(sorted(went), sorted(expected), "{order:?} of {packet:?}");
            assert_eq!(object.datagrams().len(), 0, "it is whole, and not forgotten");
        }
    }
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// The first one goes first, and then they go in the order in which they came.
#[test]
fn the_order_of_what_is_sent_round() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S).payload((0..70).collect::<Vec<u8>>());
    let pieces = cut(&packet);
    let round = Loop::new(true);
    object.egress(&pieces[2]).dropped(Counter::FragmentKept);
    object.egress(&pieces[1]).dropped(Counter::FragmentKept);
    object.egress(&pieces[0]).replayed(NEW);
    assert_eq!(round.frames(3), bytes(&[pieces[0].clone(), pieces[2].clone(), pieces[1].clone()]));
    // At most once.
    object.egress(&pieces[0]).translated(&[]);
    assert_eq!(round.frames(0).len(), 0);
}

/// Also where the first has a longer header than those that were kept, which are then shorter than it.
#[test]
fn tags_and_options() {
    let tags: [&[(EtherType, u16)]; 2] = [&[CUSTOMER_TAG], &[PROVIDER_TAG, CUSTOMER_TAG]];
    for tags in tags.into_iter().chain([&[][..]]) {
        let mut object = Object::default();
        let packet = Packet::udp(A, S).payload((0..70).collect::<Vec<u8>>()).tags(tags);
        let mut pieces = cut(&packet);
        pieces[0] = pieces[0].clone().options(10);
        let last = Packet { payload: vec![1], ..pieces[2].clone() };
        let round = Loop::new(true);
        object.egress(&last).dropped(Counter::FragmentKept);
        object.egress(&pieces[1]).dropped(Counter::FragmentKept);
        object.egress(&pieces[0]).replayed(NEW);
        let frames = round.frames(3);
        assert_eq!(frames[0], pieces[0].bytes());
        assert_eq!(frames[1][..last.bytes().len()], last.bytes());
        assert_eq!(frames[2][..pieces[1].bytes().len()], pieces[1].bytes());
        for frame in &frames {
            let step = object.step(Hook::Egress, frame, Context::default());
            let after = step.translated(&[]);
            assert_eq!(after.len(), frame.len());
        }
        assert_eq!(object.datagrams().len(), 0);
    }
}

#[test]
fn two_instances_with_one_identification_leave_with_two() {
    let mut object = Object::default();
    let first = |source| cut(&Packet::udp(source, S).payload([0; 70]))[0].clone();
    let frames = [A, B, A].map(|source| {
        let step = object.egress(&first(source).id(7));
        let new = step.counted.contains_key(Counter::FlowsCreated.name());
        let events: &[Counter] = match (new, source) {
            (false, _) => &[],
            (true, A) => NEW,
            (true, _) => lab::object::NEW_PORT,
        };
        // The third is a duplicate of the first.
        if new {
            Some(id(&step.translated(events)))
        } else {
            step.dropped(Counter::Fragment);
            None
        }
    });
    assert!(frames[0].is_some() && frames[1].is_some() && frames[0] != frames[1] && frames[2].is_none());
    // What arrives keeps its own.
    let answer = cut(&Packet::udp(S, (GATEWAY, A.1)).id(0x5678).payload([0; 70]));
    assert_eq!(id(&object.ingress(&answer[0]).translated(&[])), 0x5678);
    assert_eq!(id(&object.ingress(&answer[1]).translated(&[])), 0x5678);
}

/// A duplicate is left out by itself; after an overlap nothing of the datagram passes.
#[test]
fn duplicates_and_overlaps() {
    for leaves in [true, false] {
        let mut object = Object::default();
        let external = object.out(&Packet::udp(A, S), NEW);
        let packet = if leaves { Packet::udp(A, S) } else { Packet::udp(S, external) };
        let packet = packet.payload((0..120).collect::<Vec<u8>>());
        let step = |object: &mut Object, piece: &Packet| -> Step {
            object.step(hook(leaves), &piece.bytes(), Context::default())
        };
        // 128 bytes: four pieces of 32.
        let pieces = fragments(&packet.clone().id(1), 32);
        for piece in &pieces[..3] {
            step(&mut object, piece).translated(&[]);
            step(&mut object, piece).dropped(Counter::Fragment);
        }
        step(&mut object, &pieces[3]).translated(&[]);
        assert_eq!(object.datagrams().len(), 0);

        let odd = |from: usize, to: usize, id| {
            let whole = fragments(&packet.clone().id(id), 128)[0].payload.clone();
            Packet {
                payload: whole[from..to].to_vec(),
                ..pieces[1].clone().id(id).fragment(from as u16 / 8, true)
            }
        };
        // Into the second piece, around it, within it, with one edge in common or both neighbours'.
        let overlaps = [(24, 40), (56, 72), (24, 72), (40, 48), (32, 48), (48, 64), (0, 64), (32, 72)];
        for (id, (from, to)) in (10..).zip(overlaps) {
            let pieces = fragments(&packet.clone().id(id), 32);
            step(&mut object, &pieces[0]).translated(&[]);
            step(&mut object, &pieces[1]).translated(&[]);
            let first = from == 0;
            // With a header of its own where it is the first.
            let piece = if first { odd(0, to, id) } else { odd(from, to, id) };
            step(&mut object, &piece).dropped(Counter::Fragment);
            for piece in &pieces {
                step(&mut object, piece).dropped(Counter::Fragment);
            }
        }
    }
}

#[test]
fn what_no_datagram_has_is_dropped() {
    for (leaves, known) in [(true, true), (true, false), (false, true)] {
        let mut object = Object::default();
        let external = object.out(&Packet::udp(A, S), NEW);
        let step = |object: &mut Object, packet: Packet| -> Step {
            object.step(hook(leaves), &packet.bytes(), Context::default())
        };
        let (from, to) = if leaves { (A, S) } else { (S, external) };
        let later = |protocol, length: usize, offset, more| {
            Packet::other(protocol, from.0, to.0).payload(vec![7; length]).fragment(offset, more)
        };
        if known {
            step(&mut object, cut(&Packet::udp(from, to).payload([0; 70]))[0].clone()).translated(&[]);
        }
        // No multiple of 8, nothing at all, beyond 65,535 bytes.
        for (length, offset, more) in [
            (12, 100, true),
            (0, 100, true),
            (0, 100, false),
            (100, 8189, false),
            (4, 8189, false),
            (8, 8191, true),
        ] {
            step(&mut object, later(17, length, offset, more)).dropped(Counter::Fragment);
        }
        let tcp = Packet::tcp(from, to, SYN).payload([0; 70]);
        if leaves {
            // In the middle of a TCP header (RFC 3128).
            if known {
                step(&mut object, cut(&tcp)[0].clone()).translated(NEW);
            }
            step(&mut object, later(6, 16, 1, true)).dropped(Counter::Fragment);
            // First ones that end within the transport header (RFC 1858).
            for (packet, length) in [(tcp, 8), (Packet::tcp(A, S, SYN), 16)] {
                let tiny = fragments(&packet, length)[0].clone().id(77);
                step(&mut object, tiny).dropped(Counter::Malformed);
            }
        }
        let odd = cut(&Packet::udp(from, to).payload([0; 70]).id(78))[0].clone();
        let odd = Packet { payload: odd.payload[..20].to_vec(), ..odd };
        step(&mut object, odd).dropped(Counter::Fragment);
    }
}

/// To the host, which sees for itself.
#[test]
fn the_hosts_own_pass_untouched() {
    let mut object = Object::default();
    let (arriving, leaving) = (Packet::udp(S, (GATEWAY, 22)), Packet::udp((GATEWAY, 22), S));
    let round = Loop::new(false);
    let pieces = cut(&arriving.payload([0; 70]));
    object.ingress(&pieces[2]).untouched(KEPT_ONE);
    for number in [0, 1, 1, 2] {
        object.ingress(&pieces[number]).untouched(&[]);
    }
    for piece in cut(&leaving.payload([0; 70])).iter().rev() {
        object.egress(piece).untouched(&[]);
    }
    // Beyond the longest datagram, and in the middle of a header.
    let odd = Packet::other(6, SERVER, GATEWAY).payload([0; 100]);
    object.ingress(&odd.clone().fragment(8189, false)).untouched(&[]);
    object.ingress(&odd.fragment(1, false)).untouched(&[]);
    assert_eq!(round.frames(0).len(), 0);
}

/// From and to addresses that have nothing to do with us.
#[test]
fn those_of_others_pass_and_are_not_remembered() {
    let mut object = Object::default();
    let stranger = "192.168.7.7".parse().expect("an address");
    for pieces in [
        cut(&Packet::udp((stranger, 1), S).payload([0; 70])),
        cut(&Packet::udp(S, (stranger, 1)).payload([0; 70])),
    ] {
        for piece in pieces.iter().rev() {
            for hook in Hook::ALL {
                object.step(hook, &piece.bytes(), Context::default()).untouched(&[]);
            }
        }
    }
    assert_eq!(object.datagrams().len(), 0);
}

/// Where flows begin outside, a host that no rule masquerades may answer them.
#[test]
fn at_an_uplink_with_forwards_others_wait_too_and_pass() {
    let mut object = Object::default();
    object.set_flags(UplinkFlags::SERVES);
    let stranger = "192.168.7.7".parse().expect("an address");
    let pieces = bytes(&cut(&Packet::udp((stranger, 1), S).payload([0; 70])));
    for order in ORDERS {
        let sent: Vec<_> = order.iter().map(|number| pieces[*number].clone()).collect();
        assert_eq!(sorted(send(&mut object, true, &sent)), sorted(pieces.clone()), "{order:?}");
        assert_eq!(object.datagrams().len(), 0);
    }
}

/// A port forward and a floating address: a stranger's datagram, and the answer of a host that no rule need masquerade.
#[test]
fn of_flows_that_begin_outside() {
    for (external, inside) in [((GATEWAY, 8080), (VM1, 80)), ((FLOATING, 53), (VM2, 53))] {
        for order in ORDERS {
            let mut object = Object::default();
            object.set_rules(&[], &[]);
            object.forward(17, 8080, (VM1, 80));
            object.float(FLOATING, VM2);
            let question = Packet::udp(S, external).payload((0..70).collect::<Vec<u8>>());
            let answer = Packet::udp(inside, S).payload((0..80).collect::<Vec<u8>>());
            let in_order = |packet: &Packet| -> Vec<_> {
                let pieces = cut(packet);
                order.iter().map(|number| pieces[*number].bytes()).collect()
            };
            let went = send(&mut object, false, &in_order(&question));
            let expected = bytes(&cut(&question.clone().with_destination(inside)));
            assert_eq!(sorted(went), sorted(expected), "{order:?} of a question to {external:?}");
            let went = send(&mut object, true, &in_order(&answer));
            let expected = bytes(&cut(&answer.clone().with_source(external).id(id(&went[0]))));
            assert_eq!(sorted(went), sorted(expected), "{order:?} of the answer from {external:?}");
            assert_eq!(object.datagrams().len(), 0);
        }
    }
}

/// To an address that the host does not have nothing goes on to the host.
#[test]
fn for_external_addresses_that_the_host_does_not_have() {
    let mut object = Object::default();
    object.answer_for(FLOATING);
    object.set_flags(UplinkFlags::SERVES);
    let pieces = cut(&Packet::udp(S, (FLOATING, 53)).payload([0; 70]));
    object.ingress(&pieces[1]).dropped(Counter::FragmentKept);
    object.ingress(&pieces[0]).dropped(Counter::Unsolicited);
    let odd = Packet { payload: vec![7; 12], ..pieces[1].clone() };
    object.ingress(&odd).dropped(Counter::Fragment);
}

/// From one instance to another by the external address: as soon as the first one has left.
#[test]
fn on_the_inside() {
    let mut object = Object::new(Rule { flags: RuleFlags::OPEN, ..PLAIN });
    object.set_external(
        GATEWAY,
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: [0; 6], reserved: [0; 2] },
    );
    object.set_flags(UplinkFlags::SERVES);
    let external = object.out(&Packet::udp(B, S), NEW);
    let pieces = cut(&Packet::udp(A, external).payload([0; 70]));
    object.inside(&pieces[1]).untouched(&[]);
    assert_eq!(object.inside(&pieces[0]).redirected(&[]), pieces[0].bytes());
    object.egress(&pieces[0]).translated(lab::object::NEW_PORT);
    assert_eq!(object.inside(&pieces[1]).redirected(&[]), pieces[1].bytes());
    // One that is for the host.
    let own = cut(&Packet::udp(A, (GATEWAY, 22)).id(2).payload([0; 70]));
    own.iter().for_each(|piece| object.inside(piece).untouched(&[]));
}

/// What comes later waits for another first one.
#[test]
fn no_longer_than_half_a_minute() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S).payload([0; 70]);
    let pieces = cut(&packet);
    let round = Loop::new(true);
    object.egress(&pieces[0]).translated(NEW);
    object.let_fragments_wait(29);
    object.egress(&pieces[1]).translated(&[]);
    object.let_fragments_wait(2);
    // The rest comes too late: it waits for another first one.
    object.egress(&pieces[2]).dropped(Counter::FragmentKept);
    object.let_fragments_wait(31);
    // Which comes too late as well.
    object.egress(&pieces[0]).translated(&[]);
    assert_eq!(round.frames(0).len(), 0);
}

/// A new datagram with the identification of one that never became whole, and that was the host's own.
#[test]
fn another_decision_for_the_same_identification() {
    let mut object = Object::default();
    let external = object.out(&Packet::udp(A, S), NEW);
    let own = cut(&Packet::udp(S, (GATEWAY, 22)).payload([0; 70]));
    let answer = cut(&Packet::udp(S, external).payload([0; 70]));
    object.ingress(&own[0]).untouched(&[]);
    object.ingress(&answer[0]).translated(&[]);
    object.ingress(&answer[1]).translated(&[]);
    object.ingress(&own[0]).untouched(&[]);
    object.ingress(&own[1]).untouched(&[]);
}

#[test]
fn too_long_to_be_kept() {
    let mut object = Object::default();
    let long = |from, to, length| Packet::other(17, from, to).payload(vec![7; length]).fragment(500, false);
    object.egress(&long(VM1, SERVER, LONGEST - 20)).dropped(Counter::FragmentKept);
    object.egress(&long(VM1, SERVER, LONGEST - 19)).dropped(Counter::FragmentLost);
    object.ingress(&long(SERVER, GATEWAY, LONGEST - 20)).untouched(KEPT_ONE);
    object.ingress(&long(SERVER, GATEWAY, LONGEST - 19)).untouched(&[]);
    // Behind the first one length does not matter.
    let pieces = fragments(&Packet::udp(A, S).id(9).payload([0; 9000]), 3000);
    object.egress(&pieces[0]).translated(NEW);
    object.egress(&pieces[1]).translated(&[]);
}

/// One datagram has so many places, all of them together have so many, and each that is lost is counted once.
#[test]
fn a_flood_of_orphans_is_bounded_and_counted() {
    let mut object = Object::default();
    let orphan =
        |id: u16, offset| Packet::other(17, VM1, SERVER).payload([7; 8]).id(id).fragment(offset, true);
    for offset in 0..KEPT as u16 {
        object.egress(&orphan(1, 2 * offset + 2)).dropped(Counter::FragmentKept);
    }
    object.egress(&orphan(1, 5000)).dropped(Counter::FragmentLost);
    let (mut kept, mut lost) = (KEPT as u64, 1);
    for id in 2..3000 {
        let step = object.egress(&orphan(id, 5));
        assert_eq!(step.verdict, Verdict::Drop);
        kept += step.counted[Counter::FragmentKept.name()];
        lost += step.counted.get(Counter::FragmentLost.name()).copied().unwrap_or(0);
    }
    assert_eq!(kept, KEPT as u64 + 2998);
    // The one that found no room gave its place back.
    assert_eq!(lost, 1 + kept - PLACES as u64);
    assert!(object.datagrams().len() <= DATAGRAMS);
    // And ordinary ones go on.
    object.out(&Packet::udp(A, S), NEW);
    let packet = Packet::udp(A, S).payload([0; 70]);
    let sent = bytes(&cut(&packet));
    let went = send(&mut object, true, &sent);
    assert_eq!(went.len(), 3);
}

/// Where more of a datagram is kept than there are places, the last pieces are sent round.
#[test]
fn a_datagram_whose_pieces_were_overwritten() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S).payload([0; 70]);
    let pieces = cut(&packet);
    object.egress(&pieces[1]).dropped(Counter::FragmentKept);
    for id in 1..=PLACES as u16 {
        let orphan = Packet::other(17, VM2, SERVER).payload([7; 8]).id(id).fragment(9, true);
        let step = object.egress(&orphan);
        assert_eq!(step.counted.contains_key(Counter::FragmentLost.name()), usize::from(id) == PLACES);
    }
    let round = Loop::new(true);
    object.egress(&pieces[0]).replayed(NEW);
    assert_eq!(round.frames(1), [pieces[0].bytes()]);
}

/// The pieces of a datagram on three processors in the same moment: each of them goes on once, with what the
/// first one got.
#[test]
fn all_pieces_at_once() {
    const DATAGRAMS: u16 = 500;
    for leaves in [true, false] {
        let mut object = Object::default();
        let external = object.out(&Packet::udp(A, S), NEW);
        let packet = if leaves { Packet::udp(A, S) } else { Packet::udp(S, external) };
        let packet = packet.payload((0..70).collect::<Vec<u8>>());
        let datagrams: Vec<Vec<Vec<u8>>> =
            (0..DATAGRAMS).map(|id| bytes(&cut(&packet.clone().id(id)))).collect();
        let round = Loop::new(leaves);
        let (runner, start) = (object.runner(), Barrier::new(3));
        let mut went: Vec<Vec<u8>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|number| {
                    let (datagrams, start) = (&datagrams, &start);
                    scope.spawn(move || {
                        let mut went = Vec::new();
                        for pieces in datagrams {
                            start.wait();
                            let (verdict, after) =
                                runner.run(hook(leaves), &pieces[number], Context::default());
                            // What arrives and is kept goes on to the host as it is.
                            if verdict == Verdict::Pass && after != pieces[number] {
                                went.push(after);
                            }
                        }
                        went
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        });
        let at_once = went.len();
        let missing = usize::from(DATAGRAMS) * 3 - at_once;
        for frame in round.frames(missing) {
            let step = object.step(hook(leaves), &frame, Context::default());
            assert_eq!(step.verdict, Verdict::Pass, "{:?}", step.counted);
            went.push(step.after);
        }
        println!("{at_once} pieces went on at once, {missing} were sent round");
        let translated =
            if leaves { packet.clone().with_source(external) } else { packet.clone().with_destination(A) };
        // What the pieces of one datagram have in common is new where they leave: by the number of the piece.
        let mut ids = BTreeSet::new();
        for frame in &went {
            let pieces = bytes(&cut(&translated.clone().id(id(frame))));
            let number = pieces.iter().position(|piece| piece == frame);
            let number = number.unwrap_or_else(|| panic!("no piece looks like this: {frame:02x?}"));
            assert!(ids.insert((id(frame), number)), "a piece went on twice");
        }
        assert_eq!(ids.len(), usize::from(DATAGRAMS) * 3);
        let different: BTreeSet<u16> = ids.iter().map(|(id, _)| *id).collect();
        assert_eq!(different.len(), usize::from(DATAGRAMS));
        assert_eq!(object.datagrams().len(), 0);
    }
}

/// Errors quote what they are about; the quotation of a fragment cannot be checked.
#[test]
fn icmp_errors_in_pieces() {
    let mut object = Object::default();
    let external = object.out(&Packet::udp(A, S), NEW);
    let inside = Packet::udp(S, A).payload([0; 70]).ip_bytes();
    let error = Packet::icmp_error(VM1, SERVER, 3, 3, 0, &inside);
    object.egress(&cut(&error)[0]).dropped(Counter::IcmpError);
    object.egress(&cut(&error)[1]).dropped(Counter::FragmentKept);
    let outside = Packet::udp(external, S).payload([0; 70]).ip_bytes();
    let error = Packet::icmp_error(SERVER, GATEWAY, 3, 3, 0, &outside);
    object.ingress(&cut(&error)[0]).untouched(&[]);
    object.ingress(&cut(&error)[1]).untouched(KEPT_ONE);
}
