//! Programs on several processors at once: no external tuple and no port twice, and the books balance afterwards.
//!
//! Small ranges, so that collisions are common.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;

use lab::object::{Context, End, Object, Packet, Runner, TIMEOUT, Verdict, ends, key_of, to_ports};
use lab::{GATEWAY, SERVER};
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::rules::Rule;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::flow::{Direction, FlowKey, Rewrite, Status};
use natbpf_common::wire::protocol::UDP;

use super::S;

const THREADS: usize = 4;
const SEEDS: u64 = 6;

fn instance(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(number + 2).expect("few instances"))
}

/// The source of a packet on its way out, `None` if it was dropped.
fn send(runner: &Runner<'_>, packet: &Packet) -> Option<End> {
    let (verdict, frame) = runner.run(Hook::Egress, &packet.bytes(), Context::default());
    (verdict == Verdict::Pass).then(|| {
        let (source, _) = ends(&frame).expect("an IPv4 packet");
        assert_eq!(source.0, GATEWAY, "a packet left with the source {source:?}");
        source
    })
}

/// Runs `work` on all threads at once and returns what each of them made.
fn together<T: Send>(object: &mut Object, work: impl Fn(usize, &Runner<'_>) -> T + Sync) -> Vec<T> {
    let (runner, start) = (object.runner(), Barrier::new(THREADS));
    thread::scope(|scope| {
        let handles: Vec<_> = (0..THREADS)
            .map(|number| {
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    start.wait();
                    work(number, &runner)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a thread")).collect()
    })
}

/// What the datapath has counted so far.
fn counted(object: &Object) -> Vec<(&'static str, u64)> {
    let counters = object.counters();
    let all = Counter::ALL.iter().map(|counter| (counter.name(), counters[*counter as usize]));
    all.filter(|(_, count)| *count > 0).collect()
}

fn object(rule: Rule) -> Object {
    Object::sized(rule, 1 << 14, 1 << 13)
}

/// Begins a round. None lasts as long as the timeouts.
fn seed_with(object: &mut Object, seed: u64) {
    object.set_timeouts(1000);
    object.set_secret(seed);
}

/// Every flow of UDP: who, and as what it shows outside.
fn flows(object: &Object) -> Vec<(FlowKey, Rewrite, Status)> {
    let entries = object.entries().into_iter();
    let entries = entries.filter(|(key, _)| key.direction() == Direction::Original && key.protocol == UDP);
    entries.map(|(key, entry)| (key, entry.rewrite(), Status::from_word(entry.status))).collect()
}

/// Not one packet of the same new flow may go another way than the others.
#[test]
fn the_same_flow_on_all_processors_is_one_flow() {
    const FLOWS: u16 = 800;
    let mut object = object(to_ports(1, 2000));
    for seed in 0..SEEDS {
        seed_with(&mut object, seed);
        // Half of the ports are somebody else's, so that a search is needed.
        for port in (1..=FLOWS).step_by(2) {
            assert!(send(&object.runner(), &Packet::udp((instance(9), port), S)).is_some());
        }
        let round = Barrier::new(THREADS);
        let seen = together(&mut object, |_, runner| {
            let send = |port| {
                round.wait();
                send(runner, &Packet::udp((instance(0), port), S))
            };
            (1..=FLOWS).map(send).collect::<Vec<_>>()
        });
        for (port, first) in seen[0].iter().enumerate() {
            let all: Vec<_> = seen.iter().map(|thread| thread[port]).collect();
            assert!(
                first.is_some() && all.iter().all(|one| one == first),
                "seed {seed}, port {port}: {all:?}, {:?}",
                counted(&object)
            );
        }
        let census = object.census();
        assert_eq!(census.flows, usize::from(FLOWS) + usize::from(FLOWS) / 2);
        object.expect_all_to_go();
    }
}

/// The kernel's dice give each processor another port for the same flow; one of them wins.
#[test]
fn the_same_flow_with_random_ports_is_one_flow() {
    let random = Rule { flags: RuleFlags::RANDOM, ..lab::object::PLAIN };
    let mut object = object(random);
    for seed in 0..SEEDS {
        seed_with(&mut object, seed);
        let round = Barrier::new(THREADS);
        let seen = together(&mut object, |_, runner| {
            let send = |port| {
                round.wait();
                send(runner, &Packet::udp((instance(0), port), S))
            };
            (1000..1500).map(send).collect::<Vec<_>>()
        });
        for (port, first) in seen[0].iter().enumerate() {
            let all: Vec<_> = seen.iter().map(|thread| thread[port]).collect();
            assert!(
                first.is_some() && all.iter().all(|one| one == first),
                "seed {seed}, port {port}: {all:?}"
            );
        }
        assert_eq!(object.census().flows, 500);
        object.expect_all_to_go();
    }
}

#[test]
fn many_instances_with_one_source_port_share_no_tuple() {
    const INSTANCES: usize = 48;
    let mut object = object(to_ports(50000, 50063));
    for seed in 0..SEEDS * 5 {
        seed_with(&mut object, seed);
        let seen = together(&mut object, |thread, runner| {
            let mine = (thread..INSTANCES).step_by(THREADS);
            mine.map(|number| send(runner, &Packet::udp((instance(number), 50000), S))).collect::<Vec<_>>()
        });
        let all: Vec<End> = seen.concat().into_iter().flatten().collect();
        assert_eq!(all.len(), INSTANCES, "seed {seed}: some were refused");
        let distinct: HashSet<End> = all.iter().copied().collect();
        assert_eq!(distinct.len(), INSTANCES, "seed {seed}: {all:?}");
        let census = object.census();
        assert_eq!((census.flows, census.mappings), (INSTANCES, INSTANCES), "seed {seed}");
        object.expect_all_to_go();
    }
}

/// Each endpoint's flows begin on all processors at once.
#[test]
fn an_endpoint_has_one_port_wherever_its_flows_begin() {
    const INSTANCES: usize = 40;
    const DESTINATIONS: usize = 8;
    for rule in [to_ports(50000, 50063), Rule { flags: RuleFlags::RANDOM, ..lab::object::PLAIN }] {
        let mut object = object(rule);
        for seed in 0..SEEDS {
            seed_with(&mut object, seed);
            let destination = |number: usize| (SERVER, 9000 + number as u16);
            together(&mut object, |thread, runner| {
                for number in 0..INSTANCES {
                    for nth in 0..DESTINATIONS {
                        let destination = destination((nth + thread * DESTINATIONS / THREADS) % DESTINATIONS);
                        let packet = Packet::udp((instance(number), 50000), destination);
                        assert!(send(runner, &packet).is_some(), "seed {seed}");
                    }
                }
            });
            assert_eq!(object.census().flows, INSTANCES * DESTINATIONS);
            let mut ports: HashMap<_, HashSet<_>> = HashMap::new();
            for (key, rewrite, _) in flows(&object) {
                ports.entry(key.source).or_default().insert(rewrite.port);
            }
            let several: Vec<_> = ports.iter().filter(|(_, ports)| ports.len() > 1).collect();
            assert!(several.is_empty(), "seed {seed}, {rule:?}: {several:?}");
            object.expect_all_to_go();
        }
    }
}

/// More endpoints than ports, with flows ended and begun anew all the time.
#[test]
fn the_books_balance_after_a_storm() {
    const INSTANCES: usize = 30;
    const ROUNDS: usize = 1500;
    let mut object = object(to_ports(50000, 50015));
    for seed in 0..SEEDS {
        seed_with(&mut object, seed);
        let packet = |state: u64| {
            let source = (instance(state as usize % INSTANCES), 50000 + (state >> 16) as u16 % 3);
            Packet::udp(source, (SERVER, 9000 + (state >> 32) as u16 % 5))
        };
        together(&mut object, |thread, runner| {
            let mut state = seed << 8 | thread as u64 | 1 << 40;
            for _ in 0..ROUNDS {
                // Knuth's MMIX generator, its upper half.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let packet = packet(state.rotate_left(32));
                if state >> 60 < 4 {
                    runner.kill(&key_of(&packet));
                } else if let Some(external) = send(runner, &packet) {
                    let answer = packet.answer(external).bytes();
                    runner.run(Hook::Ingress, &answer, Context::default());
                }
            }
        });
        let census = object.census();
        assert!(census.flows > 50, "seed {seed}: {census:?}");
        assert!(census.mappings <= 16, "seed {seed}: {census:?}");
        object.expect_all_to_go();
    }
}

/// Half of the processors send, the other half reaps: flows are marked and saved, removed and begun anew, and
/// so are mappings.
#[test]
fn packets_and_the_reaper_race_for_every_flow() {
    const FLOWS: u16 = 400;
    // Half of the flows are in one another's way.
    let packets: Vec<Packet> = (0..FLOWS)
        .map(|number| Packet::udp((instance(usize::from(number % 2)), 3000 + number / 3), S))
        .collect();
    let mut object = object(to_ports(3000, 3120));
    for seed in 0..SEEDS {
        seed_with(&mut object, seed);
        object.set_timeouts(TIMEOUT);
        for packet in &packets {
            send(&object.runner(), packet);
        }
        // Everything expires; marks are old enough; mappings are.
        for seconds in [TIMEOUT + 2, 3, TIMEOUT + 2, 3, 3] {
            object.let_pass(seconds);
            let keys: Vec<FlowKey> = object.entries().iter().map(|(key, _)| *key).collect();
            let mappings: Vec<_> = object.mappings().iter().map(|(endpoint, _)| *endpoint).collect();
            together(&mut object, |thread, runner| {
                if thread % 2 == 0 {
                    // Not all, so that something is removed.
                    for packet in packets.iter().step_by(thread + 1) {
                        send(runner, packet);
                    }
                } else {
                    for key in &keys {
                        runner.reap(key);
                    }
                    for endpoint in &mappings {
                        runner.unmap(endpoint);
                    }
                }
            });
            object.census();
        }
        object.expect_all_to_go();
    }
}
