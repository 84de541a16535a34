use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::top::sums::{Seen, Wanted};

fn reading(at: Instant, counters: &Counters) -> Reading {
    Reading {
        at,
        datapath: (1, 7),
        uptime: Some(Duration::from_secs(90)),
        daemon_running: true,
        offload: true,
        counters: *counters,
        devices: BTreeMap::new(),
        edges: BTreeSet::new(),
        sums: Sums::new(Wanted::default(), crate::top::Sort::Packets, BTreeSet::new()),
        flows: HashMap::new(),
        tables: Vec::new(),
    }
}

fn readings(seconds: u64) -> (Reading, Reading) {
    let start = Instant::now();
    let none = [0; Counter::COUNT];
    (reading(start, &none), reading(start + Duration::from_secs(seconds), &none))
}

fn device(name: &str, received: u64, sent: u64) -> Device {
    let count = |packets| Count::new(packets, packets * 1000);
    Device { name: name.to_owned(), received: count(received), sent: count(sent) }
}

#[test]
fn another_datapath_has_no_difference() {
    let (before, mut now) = readings(1);
    assert!(rates(&before, &now).is_some());
    now.datapath = (1, 8);
    assert!(rates(&before, &now).is_none());
}

#[test]
fn an_edge_has_what_its_device_has_counted_and_the_share_that_was_repeated() {
    let (mut before, mut now) = readings(2);
    let edge = IfIndex::new(3);
    now.edges = BTreeSet::from([edge, IfIndex::new(4), IfIndex::new(5)]);
    before.devices =
        BTreeMap::from([(edge, device("eth0", 100, 50)), (IfIndex::new(4), device("tap0", 900, 900))]);
    // The second one was taken away, and made again with the same index; the third has just come.
    now.devices = BTreeMap::from([
        (edge, device("eth0", 500, 150)),
        (IfIndex::new(4), device("tap0", 10, 20)),
        (IfIndex::new(5), device("tap1", 1_000_000, 1_000_000)),
    ]);
    now.sums.edges.entry(edge).or_default().repeated = Count::new(300, 300_000);
    // Sent by XDP: the device does not know.
    now.sums.edges.entry(IfIndex::new(4)).or_default().repeated_out = Count::new(70, 70_000);
    let report = rates(&before, &now).unwrap();
    let [eth0, tap0, tap1] = &report.edges[..] else { panic!("{report:?}") };
    assert_eq!((eth0.inward.packets, eth0.outward.packets, eth0.share_repeated), (400, 100, Some(0.75)));
    assert!((eth0.inward.packets_per_second - 200.0).abs() < 1e-6);
    assert!((eth0.inward.bits_per_second - 1_600_000.0).abs() < 1e-3);
    assert_eq!((tap0.inward.packets, tap0.outward.packets, tap0.share_repeated), (10, 70, Some(0.0)));
    assert_eq!((&*tap1.name, tap1.inward.packets, tap1.share_repeated), ("tap1", 0, None));
}

#[test]
fn flows_of_the_nat_stand_beside_the_paths_of_their_instance() {
    let (before, mut now) = readings(1);
    let [one, two] = [11, 12].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
    now.flows = HashMap::from([(one, 5), (two, 2)]);
    let ends = |edge, source, destination| Ends {
        edge: IfIndex::new(edge),
        source,
        destination,
        source_port: 1,
        destination_port: 2,
    };
    let there = IpAddr::from([203, 0, 113, 10]);
    let (comes, leaves) = (ends(1, one, there), ends(2, IpAddr::from([203, 0, 113, 1]), there));
    now.sums.add(Seen { protocol: 17, comes, leaves, holds: true }, Count::new(8, 800));
    let mut report = rates(&before, &now).unwrap();
    report.instances.sort_by_key(|row| row.address);
    let rows: Vec<_> =
        report.instances.iter().map(|row| (row.address, row.flows, row.sent.packets)).collect();
    assert_eq!(rows, [(one, 5, 8), (two, 2, 0)]);
    assert_eq!((report.instances[0].edge.as_deref(), &report.instances[1].edge), (Some("if1"), &None));
    let [flow] = &report.flows[..] else { panic!("{report:?}") };
    assert_eq!((flow.rate.packets, &*flow.leaves.edge, flow.comes.source), (8, "if2", one));
}

#[test]
fn drops_are_told_with_their_cause_if_there_ever_were_any() {
    let (mut before, mut now) = readings(2);
    before.counters[Counter::Quota as usize] = 10;
    now.counters[Counter::Quota as usize] = 50;
    before.counters[Counter::NoPort as usize] = 3;
    now.counters[Counter::NoPort as usize] = 3;
    now.counters[Counter::FragmentKept as usize] = 9;
    let report = rates(&before, &now).unwrap();
    let rows: Vec<_> = report.drops.iter().map(|row| (row.cause, row.packets, row.total)).collect();
    assert_eq!(rows, [("no_port", 0, 3), ("quota", 40, 50)]);
    assert!((report.drops[1].packets_per_second - 20.0).abs() < 1e-6);
    assert!(report.drops[1].advice.contains("max_flows_per_source") && report.drops[1].help.ends_with('.'));
}

proptest! {
    /// Whatever counters say, also where they have begun anew: never more than they have, and shares within bounds.
    #[test]
    fn no_counters_make_nonsense(
        before in prop::collection::vec(any::<u64>(), Counter::COUNT),
        after in prop::collection::vec(any::<u64>(), Counter::COUNT),
        milliseconds in 0..10_000u64,
    ) {
        let start = Instant::now();
        let of = |all: Vec<u64>| -> Counters { all.try_into().unwrap() };
        let (before, after) = (of(before), of(after));
        let end = start + Duration::from_millis(milliseconds);
        let report = rates(&reading(start, &before), &reading(end, &after)).unwrap();
        let at = |counter: Counter| (before[counter as usize], after[counter as usize]);
        let (known, now) = at(Counter::PacketsRepeated);
        prop_assert_eq!(report.repeated.packets, if now < known { now } else { now - known });
        prop_assert!(report.repeated.share.is_none_or(|share| (0.0..=1.0).contains(&share)));
        for rate in [report.repeated.packets_per_second, report.begun.flows_per_second, report.lost.per_second] {
            prop_assert!(rate.is_finite() && rate >= 0.0);
        }
        prop_assert!(report.drops.iter().all(|row| row.packets <= row.total && row.packets_per_second.is_finite()));
    }
}
