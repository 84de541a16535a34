//! Full tables: flows that do not run give way, running ones do not notice; where all run the new one is refused.

use lab::object::{Census, NEW, Object, PLAIN, Packet, Verdict, key_of};
use lab::{GATEWAY, SERVER, VM1};
use natbpf::clock;
use natbpf_common::SECOND;
use natbpf_common::contract::counter::Counter::{
    FlowsCreated, FlowsDroppedEarly, FlowsRemoved, Quota, TableFull,
};
use natbpf_common::contract::rules::{Rule, RuleFlags};
use natbpf_common::time::Moment;
use natbpf_common::wire::protocol::UDP;
use natbpf_common::wire::segment::{ACK, FIN, RST, SYN, TcpFlags};

use super::S;

fn from(port: u16) -> Packet {
    Packet::udp((VM1, port), S)
}

/// A flow that runs: it was answered.
fn run(object: &mut Object, port: u16) {
    let external = object.out(&from(port), NEW);
    object.back(&from(port).answer(external), (VM1, port));
}

/// One that goes on after two seconds.
fn assure(object: &mut Object, port: u16) {
    run(object, port);
    let created = Moment::of(object.flow(&from(port)).created.time() - 3 * SECOND);
    for key in [key_of(&from(port)), object.reply_key(&from(port))] {
        object.change(&key, |entry| entry.created = created);
    }
    object.out(&from(port), &[]);
}

#[test]
fn a_full_table_refuses_the_new_flow_and_harms_none() {
    let mut object = Object::sized(PLAIN, 8, 64);
    for port in 1..=4 {
        run(&mut object, port);
    }
    for port in 5..=40 {
        object.egress(&from(port)).dropped(TableFull);
        object.egress(&Packet::tcp((VM1, port), S, SYN)).dropped(TableFull);
        object.egress(&Packet::other(47, VM1, SERVER)).dropped(TableFull);
    }
    for port in 1..=4 {
        object.out(&from(port), &[]);
        object.back(&from(port).answer((GATEWAY, port)), (VM1, port));
    }
    object.census();
    object.expect_all_to_go();
    object.out(&from(5), NEW);
}

/// What a new flow counts that another one has given way to.
const INSTEAD: &[natbpf_common::contract::counter::Counter] =
    &[FlowsCreated, FlowsDroppedEarly, FlowsRemoved];

#[test]
fn the_oldest_that_was_never_answered_gives_way_and_none_that_was() {
    // Whatever is counted to sources and mappings is given back.
    let mut object = Object::sized(Rule { max_flows: 9, ..PLAIN }, 10, 64);
    for port in [1, 3] {
        run(&mut object, port);
    }
    for port in [2, 4] {
        object.out(&from(port), NEW);
    }
    run(&mut object, 5);
    for (new, old) in [(6, 2), (7, 4), (8, 6), (9, 7)] {
        assert_eq!(object.out(&from(new), INSTEAD), (GATEWAY, new));
        assert!(object.entry(&key_of(&from(old))).is_none(), "{old} gives way to {new}");
        object.ingress(&from(old).answer((GATEWAY, old))).untouched(&[]);
    }
    for port in [1, 3, 5] {
        object.out(&from(port), &[]);
        object.back(&from(port).answer((GATEWAY, port)), (VM1, port));
    }
    assert_eq!(object.census().flows, 5);
    object.expect_all_to_go();
}

#[test]
fn one_that_is_answered_late_is_safe_from_then_on() {
    let mut object = Object::sized(PLAIN, 2, 64);
    object.out(&from(1), NEW);
    object.out(&from(2), INSTEAD);
    object.back(&from(2).answer((GATEWAY, 2)), (VM1, 2));
    object.egress(&from(3)).dropped(TableFull);
    object.out(&from(2), &[]);
    object.census();
    object.expect_all_to_go();
}

/// A question and its answer, a connection that was refused, one that both sides have closed: for a few
/// seconds they have their place.
#[test]
fn what_was_answered_and_does_not_run_gives_way_when_it_has_been_idle() {
    let mut object = Object::sized(PLAIN, 8, 64);
    run(&mut object, 1);
    let (refused, closed) = (2000, 2001);
    let tcp = |port: u16, flags: TcpFlags| Packet::tcp((VM1, port), S, flags);
    let back = |object: &mut Object, port: u16, flags: TcpFlags| {
        object.back(&Packet::tcp(S, (GATEWAY, port), flags), (VM1, port));
    };
    object.out(&tcp(refused, SYN), NEW);
    back(&mut object, refused, RST | ACK);
    object.out(&tcp(closed, SYN), NEW);
    back(&mut object, closed, SYN | ACK);
    object.out(&tcp(closed, ACK), &[]);
    object.out(&tcp(closed, FIN | ACK), &[]);
    back(&mut object, closed, FIN | ACK);
    object.out(&tcp(closed, ACK), &[]);
    assure(&mut object, 4);
    object.egress(&from(5)).dropped(TableFull);
    for packet in [from(1), tcp(refused, SYN), tcp(closed, SYN), from(4)] {
        object.idle(&packet, 6);
    }
    for (new, old) in [(5, from(1)), (6, tcp(refused, SYN)), (7, tcp(closed, SYN))] {
        object.out(&from(new), INSTEAD);
        object.back(&from(new).answer((GATEWAY, new)), (VM1, new));
        assert!(object.entry(&key_of(&old)).is_none(), "{old:?} gives way to {new}");
    }
    object.egress(&from(8)).dropped(TableFull);
    object.out(&from(4), &[]);
    object.census();
    object.expect_all_to_go();
}

/// What would have its ports next would get what is repeated. Never answered, or answered in a way that does not renew
/// it.
#[test]
fn what_is_repeated_does_not_give_way() {
    let refresh = Rule { flags: PLAIN.flags | RuleFlags::OUTBOUND_REFRESH, ..PLAIN };
    for (rule, answered) in [(PLAIN, false), (refresh, true)] {
        let mut object = Object::sized(rule, 8, 64);
        for port in 1..=4 {
            object.out(&from(port), NEW);
        }
        let (out, back) = (key_of(&from(1)), object.reply_key(&from(1)));
        let repeated = if answered { back } else { out };
        if answered {
            object.back(&from(1).answer((GATEWAY, 1)), (VM1, 1));
            object.idle(&from(1), 6);
        }
        object.run_until(&repeated, clock::now() + 2 * SECOND);
        for port in 5..=7 {
            object.out(&from(port), INSTEAD);
        }
        assert!(object.entry(&out).is_some(), "answered: {answered}");
        object.census();
        object.expect_all_to_go();
    }
}

/// An instance that asks every port of every host finds room for all of its questions, and takes none from the others.
#[test]
fn a_scan_passes_through_a_full_table() {
    let mut object = Object::sized(PLAIN, 64, 256);
    run(&mut object, 1);
    let mut early = 0;
    for port in 1000..1500 {
        let step = object.egress(&Packet::tcp((VM1, 5000), (SERVER, port), SYN));
        early += step.counted.get(FlowsDroppedEarly.name()).copied().unwrap_or_default();
        assert_eq!(step.verdict, Verdict::Pass, "{step:?}");
    }
    assert_eq!(early, 500 - 31);
    object.out(&from(1), &[]);
    assert_eq!(object.census().flows, 32);
    object.expect_all_to_go();
}

/// What a stranger began has been answered by the inside.
#[test]
fn strangers_flows_find_room_too_and_never_give_way() {
    let mut object = Object::sized(PLAIN, 4, 64);
    object.forward(UDP, 8080, (VM1, 80));
    for port in 1..=2 {
        object.out(&from(port), NEW);
    }
    for port in 1..=2 {
        object.meet(
            &Packet::udp((SERVER, port), (GATEWAY, 8080)),
            (VM1, 80),
            &[FlowsDroppedEarly, FlowsRemoved],
        );
    }
    object.egress(&from(3)).dropped(TableFull);
    // A third one goes on without a flow, as long as strangers are remembered.
    for _ in 0..2 {
        object.back(&Packet::udp((SERVER, 3), (GATEWAY, 8080)), (VM1, 80));
        assert_eq!(object.leave(&Packet::udp((VM1, 80), (SERVER, 3)), &[]), (GATEWAY, 8080));
    }
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

/// Whatever strangers have an inside host answer takes no room from instances for long.
#[test]
fn what_strangers_had_answered_gives_way_too() {
    let mut object = Object::sized(PLAIN, 4, 64);
    object.forward(UDP, 8080, (VM1, 80));
    let asks = |port: u16| Packet::udp((SERVER, port), (GATEWAY, 8080));
    for port in 1..=2 {
        object.meet(&asks(port), (VM1, 80), &[]);
    }
    object.egress(&from(3)).dropped(TableFull);
    for port in 1..=2 {
        object.idle(&Packet::udp((VM1, 80), (SERVER, port)), 6);
    }
    object.out(&from(3), INSTEAD);
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

/// A source that has as many as it may have; so nobody who sends in its name keeps it from beginning anything for long.
#[test]
fn a_source_at_its_limit_gives_up_its_own_idle_ones() {
    let mut object = Object::sized(Rule { max_flows: 3, ..PLAIN }, 64, 64);
    assure(&mut object, 1);
    run(&mut object, 2);
    object.out(&from(3), NEW);
    object.egress(&from(4)).dropped(Quota);
    for port in 1..=3 {
        object.idle(&from(port), 6);
    }
    for port in 4..=5 {
        // Some of those that began last are looked at for each packet, at random.
        let begins = (0..20_000).any(|_| object.egress(&from(port)).verdict != Verdict::Drop);
        assert!(begins, "{port} was refused each time");
    }
    assert!(object.entry(&key_of(&from(1))).is_some(), "one that runs stays");
    assert_eq!(object.census().flows, 3);
    object.expect_all_to_go();
}

/// The reply direction's entry finds room, the original's does not.
#[test]
fn half_a_flow_is_taken_out_again() {
    let mut object = Object::sized(PLAIN, 3, 64);
    run(&mut object, 1);
    object.egress(&from(2)).dropped(TableFull);
    object.egress(&from(2)).dropped(TableFull);
    object.egress(&from(3)).dropped(TableFull);
    object.out(&from(1), &[]);
    object.census();
    object.expect_all_to_go();
}

/// The host has no entry to make room for.
#[test]
fn the_host_goes_on_without_a_reservation() {
    let mut object = Object::sized(PLAIN, 2, 64);
    object.out(&from(1), NEW);
    object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[]);
    object.egress(&Packet::udp((GATEWAY, 9), S)).untouched(&[]);
}

/// It cannot be moved away; sending it as it is would mix it with the instance's flow.
#[test]
fn a_host_that_comes_second_is_refused_when_there_is_no_room() {
    let mut object = Object::sized(PLAIN, 2, 64);
    run(&mut object, 5000);
    object.egress(&Packet::udp((GATEWAY, 5000), S)).dropped(TableFull);
    object.out(&from(5000), &[]);
    assert_eq!(object.host_moved(), 0);
}

/// One direction's entry finds room, the other's does not; what is left goes with the grace period.
#[test]
fn a_host_that_finds_half_the_room_is_refused_too() {
    let mut object = Object::sized(PLAIN, 3, 64);
    run(&mut object, 5000);
    let own = Packet::udp((GATEWAY, 5000), S);
    for _ in 0..2 {
        // It counts what it tried as well.
        let step = object.egress(&own);
        assert_eq!(step.verdict, Verdict::Drop);
        assert_eq!(step.counted.get(TableFull.name()), Some(&1), "{:?}", step.counted);
    }
    assert_eq!(object.host_moved(), 0);
    object.let_pass(3);
    object.idle(&from(5000), 0);
    object.reap_all();
    assert_eq!(object.census(), Census { flows: 1, orphans: 0, mappings: 1 });
}
