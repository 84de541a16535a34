//! A report as text.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use comfy_table::{CellAlignment, Table, presets};
use natbpf_common::contract::counter::Counter;

use super::{
    EdgeStatus, HookStatus, LeftOutStatus, NamespaceStatus, ObstacleStatus, Report, UplinkStatus,
    attachment::attachment,
};

/// The text form of a report.
#[derive(Debug)]
pub struct Text<'a> {
    report: &'a Report,
    all_drops: bool,
}

impl Report {
    /// As text. Drops that never happened are left out unless `all_drops`.
    pub const fn text(&self, all_drops: bool) -> Text<'_> {
        Text { report: self, all_drops }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let daemon =
            if report.daemon_running { "running" } else { "not running; traffic goes on without it" };
        let mut table = bare();
        table.add_row(["instance", &report.instance]);
        table.add_row(["network namespace", &report.netns]);
        table.add_row(["daemon", daemon]);
        table.add_row(["offload", &report.offload.text()]);
        if let Some(share) = report.share() {
            table.add_row(["repeated", &share]);
        }
        // Where natbpf is not the NAT, all that is about one would be empty.
        let is_nat = !report.uplinks.is_empty() || report.flows.count > 0;
        if is_nat {
            table.add_row(["flows", &report.flows.to_string()]);
            table.add_row(["mappings", &report.mappings.to_string()]);
        }
        write!(f, "{}", trimmed(&mut table))?;
        if is_nat {
            write!(f, "\n\n{}", trimmed(&mut uplinks(&report.uplinks)))?;
        }
        for mut table in leading_inside(report, is_nat) {
            write!(f, "\n\n{}", trimmed(&mut table))?;
        }
        let counters = &report.counters;
        if is_nat {
            write_counters(f, "traffic", &counters.traffic, true)?;
            write_counters(f, "flows", &counters.flows, true)?;
        }
        if counters.paths.values().any(|&count| count > 0) {
            write_counters(f, "paths", &counters.paths, false)?;
        }
        if !self.all_drops && counters.drops.values().all(|&count| count == 0) {
            return write!(f, "\n\nno packet was dropped");
        }
        write_counters(f, "drops", &counters.drops, self.all_drops)
    }
}

fn uplinks(uplinks: &[UplinkStatus]) -> Table {
    let mut table = bare();
    table.add_row(["uplink", "index", "egress", "ingress", "addresses"]);
    for uplink in uplinks {
        let addresses: Vec<_> = uplink.addresses.iter().map(Ipv4Addr::to_string).collect();
        table.add_row([
            uplink.name.clone(),
            uplink.interface.to_string(),
            attachment(uplink.attached.egress.as_ref()),
            attachment(uplink.attached.ingress.as_ref()),
            if addresses.is_empty() { "none".to_owned() } else { addresses.join(" ") },
        ]);
    }
    table
}

/// The tables of what not everybody has.
fn leading_inside(report: &Report, is_nat: bool) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut add = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let mut table = bare();
            table.add_row(head);
            table.add_rows(rows);
            tables.push(table);
        }
    };
    let inside = report.inside.iter().map(|inside| {
        vec![inside.name.clone(), inside.interface.to_string(), attachment(inside.attached.as_ref())]
    });
    add(&["hairpin at", "index", "program"], inside.collect());
    let ports = report.ports.iter().map(|port| {
        vec![
            port.name.clone(),
            port.interface.to_string(),
            attachment(port.attached.ingress.as_ref()),
            attachment(port.attached.egress.as_ref()),
            if port.peer { "to the other end of the pair" } else { "to the port" }.to_owned(),
        ]
    });
    let ports_are = if is_nat { "port" } else { "attached to" };
    add(&[ports_are, "index", "ingress", "egress", "replies go"], ports.collect());
    add(&["edge", "index", "paths in", "out", "packets"], report.edges.iter().map(EdgeStatus::row).collect());
    let left_out = report.left_out.iter().map(LeftOutStatus::row);
    add(&["left out", "as", "because"], left_out.collect());
    let namespaces = report.namespaces.iter().map(NamespaceStatus::row);
    add(&["passed namespace", "what natbpf does"], namespaces.collect());
    let hooks = report.hooks.iter().filter(|hook| hook.is_of_interest()).map(HookStatus::row);
    add(&["hook of", "index", "hook", "takes frames from XDP", "driver"], hooks.collect());
    let others = report.others.iter().map(|other| {
        vec![other.name.clone(), other.interface.to_string(), other.hook.to_owned(), other.what.clone()]
    });
    add(&["others at", "index", "hook", "what"], others.collect());
    let obstacles = report.obstacles.iter().map(ObstacleStatus::row);
    add(&["must see every packet", "of", "because it"], obstacles.collect());
    let forwards = report.forwards.iter();
    let forwards = forwards.map(|forward| vec![forward.uplink.clone(), forward.external(), forward.inside()]);
    add(&["forward at", "external", "inside"], forwards.collect());
    let floating = report.floating.iter();
    let floating = floating.map(|one| vec![one.uplink.clone(), one.address.to_string(), one.to.to_string()]);
    add(&["floating at", "address", "host"], floating.collect());
    let pools = report.pools.iter().map(|pool| {
        let addresses: Vec<String> = pool.addresses.iter().map(Ipv4Addr::to_string).collect();
        vec![addresses.len().to_string(), addresses.join(" ")]
    });
    add(&["pool of", "addresses"], pools.collect());
    tables
}

/// In the order of the one list of counters, not of their names.
fn write_counters(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counters: &BTreeMap<&'static str, u64>,
    zeros: bool,
) -> fmt::Result {
    let mut table = bare();
    for counter in Counter::ALL {
        if let Some(&count) = counters.get(counter.name())
            && (zeros || count > 0)
        {
            let name = format!("  {}", counter.name());
            table.add_row([name, count.to_string(), counter.help().trim().to_owned()]);
        }
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    write!(f, "\n\n{title}\n{}", trimmed(&mut table))
}

/// Columns and nothing around them.
fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn trimmed(table: &mut Table) -> String {
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table.trim_fmt()
}
