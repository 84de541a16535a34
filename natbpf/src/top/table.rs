//! A report as tables of text: what the screen and `--once` have in common.

use std::net::{IpAddr, SocketAddr};

use natbpf_common::wire::protocol::{TCP, UDP};

use super::{
    count::Rate,
    order::{Ranked, Sort, compare},
    report::{DropRow, EdgeRow, EndsRow, FlowRow, InstanceRow, Report},
    units::{percent, scaled},
};
use crate::flows::protocol_name;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    #[default]
    Edges,
    Instances,
    Flows,
    Drops,
}

/// Rows of a [`Tab`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// So many columns at the left are text, and at the right; those between are numbers.
    pub text_before: usize,
    pub text_behind: usize,
}

impl Tab {
    pub const ALL: [Self; 4] = [Self::Edges, Self::Instances, Self::Flows, Self::Drops];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Edges => "edges",
            Self::Instances => "instances",
            Self::Flows => "flows",
            Self::Drops => "drops",
        }
    }

    /// Sorted, and without the rows that do not contain `filter`.
    pub fn table(self, report: &Report, sort: Sort, reversed: bool, filter: &str) -> Table {
        let mut table = match self {
            Self::Edges => edges(&report.edges, sort),
            Self::Instances => instances(&report.instances, sort),
            Self::Flows => flows(&report.flows, sort),
            Self::Drops => drops(&report.drops, sort),
        };
        if reversed {
            table.rows.reverse();
        }
        if !filter.is_empty() {
            let filter = filter.to_lowercase();
            table.rows.retain(|row| row.join(" ").to_lowercase().contains(&filter));
        }
        table
    }
}

impl Table {
    /// Whether a column is text; numbers stand at the right of theirs.
    pub fn is_text(&self, column: usize) -> bool {
        column < self.text_before || column >= self.head.len() - self.text_behind
    }

    /// Of each column.
    pub fn widths(&self) -> Vec<usize> {
        let width = |(column, head): (usize, &&str)| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([head.len()]).max().unwrap_or_default()
        };
        self.head.iter().enumerate().map(width).collect()
    }
}

/// In the order in which they are shown.
fn sorted<R: Ranked>(rows: &[R], sort: Sort) -> Vec<&R> {
    let mut sorted: Vec<&R> = rows.iter().collect();
    sorted.sort_by(|one, other| compare(*one, *other, sort));
    sorted
}

fn rate(rate: &Rate) -> [String; 2] {
    [scaled(rate.packets_per_second), scaled(rate.bits_per_second)]
}

fn edges(rows: &[EdgeRow], sort: Sort) -> Table {
    let rows = sorted(rows, sort).into_iter().map(|row| {
        let [packets_in, bits_in] = rate(&row.inward);
        let [packets_out, bits_out] = rate(&row.outward);
        let paths = [row.paths_in, row.paths_out].map(|count| count.to_string());
        let [paths_in, paths_out] = paths;
        let share = percent(row.share_repeated);
        vec![row.name.clone(), packets_in, bits_in, packets_out, bits_out, share, paths_in, paths_out]
    });
    Table {
        head: vec!["edge", "pkt/s in", "bit/s in", "pkt/s out", "bit/s out", "repeated", "paths in", "out"],
        rows: rows.collect(),
        text_before: 1,
        text_behind: 0,
    }
}

fn instances(rows: &[InstanceRow], sort: Sort) -> Table {
    let rows = sorted(rows, sort).into_iter().map(|row| {
        let [sent_packets, sent_bits] = rate(&row.sent);
        let [received_packets, received_bits] = rate(&row.received);
        let edge = row.edge.clone().unwrap_or_else(|| "-".to_owned());
        let [flows, paths] = [row.flows, row.paths].map(|count| count.to_string());
        let address = row.address.to_string();
        vec![address, edge, sent_packets, sent_bits, received_packets, received_bits, flows, paths]
    });
    Table {
        head: vec!["instance", "edge", "pkt/s from", "bit/s", "pkt/s to", "bit/s", "flows", "paths"],
        rows: rows.collect(),
        text_before: 2,
        text_behind: 0,
    }
}

fn flows(rows: &[FlowRow], sort: Sort) -> Table {
    let rows = sorted(rows, sort).into_iter().map(|row| {
        let [packets, bits] = rate(&row.rate);
        let (protocol, comes) = (protocol(row.protocol_number), &row.comes);
        let way = format!("{} > {}", comes.edge, row.leaves.edge);
        vec![packets, bits, protocol, way, ends(row.protocol_number, comes), becomes(row)]
    });
    Table {
        head: vec!["pkt/s", "bit/s", "proto", "way", "packets", "become"],
        rows: rows.collect(),
        text_before: 0,
        text_behind: 4,
    }
}

fn protocol(number: u8) -> String {
    match protocol_name(number) {
        "unknown" => number.to_string(),
        name => name.to_owned(),
    }
}

fn end(protocol: u8, address: IpAddr, port: u16) -> String {
    match protocol {
        TCP | UDP => SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    }
}

fn ends(protocol: u8, ends: &EndsRow) -> String {
    let source = end(protocol, ends.source, ends.source_port);
    format!("{source} > {}", end(protocol, ends.destination, ends.destination_port))
}

/// What of them is different where they leave.
fn becomes(row: &FlowRow) -> String {
    let (comes, leaves) = (&row.comes, &row.leaves);
    let source = (leaves.source, leaves.source_port) != (comes.source, comes.source_port);
    let to = (leaves.destination, leaves.destination_port) != (comes.destination, comes.destination_port);
    let from = end(row.protocol_number, leaves.source, leaves.source_port);
    let onto = end(row.protocol_number, leaves.destination, leaves.destination_port);
    match (source, to) {
        (false, false) => String::new(),
        (true, false) => format!("from {from}"),
        (false, true) => format!("to {onto}"),
        (true, true) => format!("{from} > {onto}"),
    }
}

fn drops(rows: &[DropRow], sort: Sort) -> Table {
    let rows = sorted(rows, sort).into_iter().map(|row| {
        let what =
            if row.advice.is_empty() { row.help.to_owned() } else { format!("{} {}", row.help, row.advice) };
        vec![row.cause.to_owned(), scaled(row.packets_per_second), row.total.to_string(), what]
    });
    Table {
        head: vec!["cause", "pkt/s", "total", "what it is, and what can be done"],
        rows: rows.collect(),
        text_before: 1,
        text_behind: 1,
    }
}

#[cfg(test)]
mod tests;
