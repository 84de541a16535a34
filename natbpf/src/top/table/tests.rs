use super::*;
use crate::top::{
    Text,
    example::{is_as_it_was, report},
};

fn first(tab: Tab, sort: Sort, reversed: bool, filter: &str) -> Vec<String> {
    let table = tab.table(&report(), sort, reversed, filter);
    // Packets and bits of flows stand before what they are of.
    let column = if tab == Tab::Flows { 4 } else { 0 };
    table.rows.into_iter().map(|mut row| row.swap_remove(column)).collect()
}

#[test]
fn rows_are_sorted_by_what_was_chosen() {
    assert_eq!(first(Tab::Edges, Sort::Packets, false, ""), ["eth0", "vnet0", "vnet1"]);
    assert_eq!(first(Tab::Edges, Sort::Name, true, ""), ["vnet1", "vnet0", "eth0"]);
    assert_eq!(first(Tab::Instances, Sort::Bits, false, ""), ["10.0.0.11", "2001:db8:1::12", "10.0.0.12"]);
    assert_eq!(first(Tab::Instances, Sort::Name, false, ""), ["10.0.0.11", "10.0.0.12", "2001:db8:1::12"]);
    assert_eq!(first(Tab::Drops, Sort::Packets, false, ""), ["quota", "malformed"]);
    let flows = first(Tab::Flows, Sort::Packets, false, "");
    assert_eq!(flows[0], "203.0.113.10:443 > 203.0.113.1:50000");
    assert_eq!(flows[2..], ["[2001:db8:1::12]:5000 > [2001:db8:2::53]:53", "10.0.0.11 > 203.0.113.10"]);
}

#[test]
fn a_filter_looks_at_whole_rows() {
    assert_eq!(first(Tab::Edges, Sort::Packets, false, "VNET"), ["vnet0", "vnet1"]);
    assert_eq!(
        first(Tab::Flows, Sort::Packets, false, "udp"),
        ["[2001:db8:1::12]:5000 > [2001:db8:2::53]:53"]
    );
    assert_eq!(first(Tab::Flows, Sort::Packets, false, "nobody").len(), 0);
}

#[test]
fn flows_say_what_becomes_of_their_packets() {
    let table = Tab::Flows.table(&report(), Sort::Packets, false, "tcp");
    let become_: Vec<&str> = table.rows.iter().map(|row| &*row[5]).collect();
    assert_eq!(become_, ["to 10.0.0.11:40000", "from 203.0.113.1:50000"]);
}

/// Every row has a cell for each column.
#[test]
fn tables_are_whole() {
    for tab in Tab::ALL {
        let table = tab.table(&report(), Sort::Packets, false, "");
        assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{tab:?}");
        assert!(table.is_text(0) || tab == Tab::Flows);
    }
}

#[test]
fn without_a_screen_all_tables_are_printed() {
    let report = report();
    let text = Text { report: &report, sort: Sort::Packets }.to_string();
    is_as_it_was("table/once", &text);
    let none = Report { edges: Vec::new(), ..report };
    let text = Text { report: &none, sort: Sort::Packets }.to_string();
    assert!(text.contains("\n\nno edges\n\ninstance "), "{text}");
}
