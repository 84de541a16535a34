use proptest::prelude::*;

use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn ends(edge: u32, source: u8, destination: u8) -> Ends {
    let (source, destination) = (address(source), address(destination));
    Ends { edge: IfIndex::new(edge), source, destination, source_port: 5000, destination_port: 80 }
}

fn path(comes: Ends, leaves: Ends) -> Seen {
    Seen { protocol: 6, comes, leaves, holds: true }
}

fn all() -> Sums {
    Sums::new(Wanted::default(), Sort::Packets, BTreeSet::new())
}

fn inside(sums: &Sums) -> BTreeMap<(u32, IpAddr), [u64; 3]> {
    let row = |(&(edge, address), sum): (&(IfIndex, IpAddr), &InstanceSum)| {
        ((edge.number(), address), [sum.paths, sum.sent.packets, sum.received.packets])
    };
    sums.inside().map(row).collect()
}

/// An instance behind edge 1, a server behind edge 9, in whose direction the source is translated.
#[test]
fn translation_shows_where_the_outside_is() {
    let (there, back) = (path(ends(1, 11, 200), ends(9, 1, 200)), path(ends(9, 200, 1), ends(1, 200, 11)));
    for order in [[there, back], [back, there]] {
        let mut sums = all();
        for path in order {
            sums.add(path, Count::new(if path == there { 5 } else { 3 }, 1000));
        }
        assert_eq!(inside(&sums), BTreeMap::from([((1, address(11)), [2, 5, 3])]));
        let edge = |number| sums.edges[&IfIndex::new(number)];
        assert_eq!((edge(1).paths_in, edge(1).paths_out, edge(1).repeated.packets), (1, 1, 5));
        assert_eq!((edge(9).paths_in, edge(9).paths_out, edge(9).repeated.packets), (1, 1, 3));
        assert_eq!((edge(1).repeated_out.packets, edge(9).repeated_out.packets), (3, 5));
    }
}

/// By the external address of the other one: both ends are changed, and both are inside.
#[test]
fn two_instances_are_both_inside() {
    let mut sums = all();
    sums.add(path(ends(1, 11, 12), ends(2, 11, 12)), Count::new(4, 400));
    sums.add(path(ends(2, 12, 101), ends(1, 102, 11)), Count::new(2, 200));
    let expected = BTreeMap::from([((1, address(11)), [2, 4, 2]), ((2, address(12)), [2, 2, 4])]);
    assert_eq!(inside(&sums), expected);
}

#[test]
fn filters_choose_flows_and_instances_and_leave_edges_whole() {
    let wanted =
        Wanted { protocol: Some(6), source: Some("10.0.0.11/32".parse().unwrap()), destination: None };
    let mut sums = Sums::new(wanted, Sort::Packets, BTreeSet::from([IfIndex::new(9)]));
    sums.add(path(ends(1, 11, 200), ends(9, 1, 200)), Count::new(5, 500));
    sums.add(path(ends(2, 12, 200), ends(9, 1, 200)), Count::new(7, 700));
    sums.add(Seen { protocol: 17, ..path(ends(1, 11, 200), ends(9, 1, 200)) }, Count::new(9, 900));
    assert_eq!((sums.flows, sums.paths), (1, 3));
    assert_eq!(inside(&sums), BTreeMap::from([((1, address(11)), [1, 5, 0])]));
    assert_eq!(sums.edges[&IfIndex::new(2)].repeated.packets, 7);
    // As they leave counts, too.
    let external = Wanted { source: Some("10.0.0.1/32".parse().unwrap()), ..Wanted::default() };
    assert!(external.matches(&path(ends(1, 11, 200), ends(9, 1, 200))));
    assert!(!external.matches(&path(ends(9, 200, 1), ends(1, 200, 11))));
}

#[test]
fn what_has_run_out_and_counts_no_more_is_not_told() {
    let mut sums = all();
    let over = Seen { holds: false, ..path(ends(1, 11, 200), ends(9, 1, 200)) };
    sums.add(over, Count::default());
    assert_eq!((sums.flows, sums.paths, sums.most().count()), (0, 0, 0));
    sums.add(over, Count::new(1, 60));
    assert_eq!((sums.flows, sums.paths, sums.most().count()), (1, 0, 1));
}

proptest! {
    /// However many there are, those with most are kept, and no more than there is room for.
    #[test]
    fn those_with_most_are_kept(counts in prop::collection::vec(0..500u64, 1..3000), by_bits: bool) {
        let sort = if by_bits { Sort::Bits } else { Sort::Packets };
        let mut sums = Sums::new(Wanted::default(), sort, BTreeSet::new());
        for (port, count) in (0..).zip(&counts) {
            let comes = Ends { source_port: port, ..ends(1, 11, 12) };
            let (packets, bytes) = if by_bits { (500 - count, *count) } else { (*count, 500 - count) };
            sums.add(path(comes, comes), Count::new(packets, bytes));
        }
        let mut wanted = counts.clone();
        wanted.sort_unstable_by_key(|count| Reverse(*count));
        wanted.truncate(MOST_FLOWS);
        let mut kept: Vec<u64> =
            sums.most().map(|(_, count)| if by_bits { count.bytes } else { count.packets }).collect();
        kept.sort_unstable_by_key(|count| Reverse(*count));
        prop_assert_eq!(kept, wanted);
        prop_assert_eq!(sums.flows, counts.len() as u64);
        let all: u64 = counts.iter().map(|count| if by_bits { 500 - count } else { *count }).sum();
        prop_assert_eq!(sums.edges[&IfIndex::new(1)].repeated.packets, all);
    }
}
