//! A report for people, without a screen.

use std::fmt;

use super::{
    order::Sort,
    report::Report,
    table::{Tab, Table},
    units::{percent, scaled, time},
};

/// Rows of each table that are printed.
const ROWS: usize = 20;

/// The text form of a report.
#[derive(Debug)]
pub struct Text<'a> {
    pub report: &'a Report,
    pub sort: Sort,
}

/// What stands above whatever is shown.
pub fn head(report: &Report) -> [String; 3] {
    let Report { repeated, begun, lost, .. } = report;
    let uptime = report.uptime_seconds.map_or_else(|| "unknown".to_owned(), time);
    let daemon = if report.daemon_running { "" } else { "  daemon not running" };
    let offload = if report.offload { "" } else { "  offload off" };
    let tables = report.tables.iter().map(|table| format!("{} {}", table.name, percent(Some(table.share))));
    [
        format!("natbpf {}  {}  up {uptime}{daemon}{offload}", report.instance, report.netns),
        format!(
            "repeated {} of {} pkt/s  new {} flows/s, {} paths/s",
            percent(repeated.share),
            scaled(repeated.packets_per_second + repeated.left_packets_per_second),
            scaled(begun.flows_per_second),
            scaled(begun.paths_per_second),
        ),
        format!("tables: {}  lost {}/s", tables.collect::<Vec<_>>().join(", "), scaled(lost.per_second)),
    ]
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&head(self.report).join("\n"))?;
        for tab in Tab::ALL {
            let table = tab.table(self.report, self.sort, false, "");
            if table.rows.is_empty() {
                write!(f, "\n\nno {}", tab.name())?;
            } else {
                write!(f, "\n\n")?;
                write_table(f, &table)?;
            }
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    let widths = table.widths();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.enumerate().map(|(column, cell)| {
            let width = widths[column];
            if table.is_text(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    f.write_str(&line(&mut table.head.iter().copied()))?;
    for row in table.rows.iter().take(ROWS) {
        write!(f, "\n{}", line(&mut row.iter().map(String::as_str)))?;
    }
    match table.rows.len().saturating_sub(ROWS) {
        0 => Ok(()),
        more => write!(f, "\nand {more} more"),
    }
}
