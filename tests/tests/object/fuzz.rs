//! Random and damaged packets by the thousand: what must be true of every one.
//!
//! `NATBPF_FUZZ_SEED` repeats a run with another seed, `NATBPF_FUZZ_CASES` makes it longer.

use std::cell::{Cell, RefCell};
use std::env;
use std::net::Ipv4Addr;
use std::str::FromStr;

use etherparse::EtherType;
use lab::object::{
    CUSTOMER_TAG, Context, Object, PLAIN, PROVIDER_TAG, Packet, TIMEOUT, Verdict, sums_are_right,
};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf::datapath::Hook;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const SEED: u64 = 0x006e_6174_6270_6600;
const CASES: u32 = 20_000;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A packet as etherparse builds it, and what is done to it.
#[derive(Clone, Debug)]
struct Case {
    packet: Packet,
    hook: Hook,
    /// Bytes changed: where, and to what.
    damage: Vec<(Index, u8)>,
    /// Where it is cut off.
    cut: Option<Index>,
    padding: usize,
    segments: u32,
}

impl Case {
    fn frame(&self) -> Vec<u8> {
        let mut frame = self.packet.bytes();
        frame.resize(frame.len() + self.padding, 0xee);
        for (index, value) in &self.damage {
            let at = index.index(frame.len());
            frame[at] = *value;
        }
        if let Some(cut) = &self.cut {
            frame.truncate(15 + cut.index(frame.len() - 15));
        }
        frame
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let others = || select(vec![GATEWAY, SERVER, Ipv4Addr::new(192, 168, 7, 7), Ipv4Addr::UNSPECIFIED]);
    let (inside, outside) = (select(vec![VM1, VM2]), select(vec![SERVER, SERVER2]));
    // Out, back, and between anybody.
    let addresses = prop_oneof![
        3 => (inside, outside.clone()),
        2 => (outside, Just(GATEWAY)),
        1 => (others(), others()),
    ];
    let ends = (addresses, 5000..5004_u16, 5000..5004_u16);
    let protocol = select(vec![1_u8, 1, 6, 6, 6, 17, 17, 17, 33, 47, 50, 132, 136, 200]);
    let tags = select(vec![vec![], vec![], vec![], vec![CUSTOMER_TAG], vec![PROVIDER_TAG, CUSTOMER_TAG]]);
    let fragment = prop_oneof![9 => Just((0, false)), 1 => (0..0x2000_u16, any::<bool>())];
    let icmp = select(vec![0_u8, 3, 5, 8, 8, 8, 11, 13, 14, 15, 17, 18, 255]);
    let payload = vec(any::<u8>(), 0..80);
    (ends, protocol, any::<u8>(), icmp, tags, 0..=10_usize, fragment, payload, any::<bool>()).prop_map(
        |(((from, to), port, to_port), protocol, flags, icmp, tags, options, fragment, payload, summed)| {
            let packet = match protocol {
                1 => Packet::icmp(from, to, icmp, port),
                6 => Packet::tcp((from, port), (to, to_port), flags),
                17 => Packet::udp((from, port), (to, to_port)),
                other => Packet::other(other, from, to),
            };
            let packet: Packet = if summed { packet } else { packet.without_sum() };
            let tags: Vec<(EtherType, u16)> = tags;
            packet.tags(&tags).options(options).fragment(fragment.0, fragment.1).payload(payload)
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let damage = prop_oneof![1 => Just(vec![]), 1 => vec((any::<Index>(), any::<u8>()), 1..4)];
    let cut = prop_oneof![9 => Just(None), 1 => any::<Index>().prop_map(Some)];
    let segments = prop_oneof![9 => Just(0), 1 => 1..4_u32];
    (packets(), select(vec![Hook::Egress, Hook::Egress, Hook::Ingress]), damage, cut, 0..3_usize, segments)
        .prop_map(|(packet, hook, damage, cut, padding, segments)| Case {
            packet,
            hook,
            damage,
            cut,
            padding,
            segments,
        })
}

/// The source of an IPv4 packet behind at most two tags, read without believing anything else in it.
fn source(frame: &[u8]) -> Option<Ipv4Addr> {
    let mut offset = 12;
    for _ in 0..2 {
        if matches!(frame.get(offset..offset + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            offset += 4;
        }
    }
    let header = frame.get(offset + 2..offset + 22)?;
    (frame[offset..offset + 2] == [0x08, 0x00])
        .then(|| Ipv4Addr::new(header[12], header[13], header[14], header[15]))
}

/// Whether a rule masquerades it.
fn is_inside(address: Ipv4Addr) -> bool {
    address.octets()[..3] == [10, 0, 0]
}

#[test]
fn no_packet_leaks_and_no_checksum_breaks() {
    let seed = setting("NATBPF_FUZZ_SEED", SEED);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        Config { cases: setting("NATBPF_FUZZ_CASES", CASES), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    // Small tables, full some of the time and emptied some of the time.
    let object = RefCell::new(Object::sized(PLAIN, 300, 100));
    let passed = RefCell::new([0_u32; 2]);
    let count = Cell::new(0);
    let result = runner.run(&cases(), |case| {
        let (frame, mut object) = (case.frame(), object.borrow_mut());
        count.set(count.get() + 1);
        if count.get() % 500 == 0 {
            object.let_pass(TIMEOUT);
            object.reap_all();
        }
        let context = Context { segments: case.segments, ..Context::default() };
        let Some(step) = object.try_step(case.hook, &frame, context) else { return Ok(()) };
        prop_assert_eq!(step.after.len(), frame.len());
        if step.verdict == Verdict::Drop {
            prop_assert_eq!(step.hook, Hook::Egress, "what arrives is never dropped: {:?}", step.counted);
            return Ok(());
        }
        let translated = step.after != frame;
        passed.borrow_mut()[usize::from(translated)] += 1;
        if sums_are_right(&frame) == Some(true) {
            prop_assert_eq!(
                sums_are_right(&step.after),
                Some(true),
                "a checksum is wrong: {:02x?}",
                step.after
            );
        }
        if step.hook == Hook::Egress
            && let Some(source) = source(&step.after)
        {
            prop_assert!(!is_inside(source), "{} left: {:02x?}", source, step.after);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("NATBPF_FUZZ_SEED={seed}: {error}");
    }
    object.borrow().census();
    let [as_they_came, translated] = passed.into_inner();
    println!("{as_they_came} packets passed as they came, {translated} translated");
    assert!(translated > 1000 && as_they_came > 1000, "the packets are not varied enough");
    object.into_inner().expect_all_to_go();
}
