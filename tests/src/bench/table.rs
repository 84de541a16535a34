//! The report for people: a table for each measure, as Markdown.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::figures::Figures;
use super::measure::Measure;
use super::side::Kind;

/// All measures, each with a heading. Sides keep the order that they are named in.
pub fn report(figures: &Figures, sides: &[String]) -> String {
    let mut text = String::new();
    for measure in figures.measures() {
        let _ = writeln!(text, "### {measure}\n\n{}\n", table(figures, measure, sides));
    }
    text
}

fn table(figures: &Figures, measure: Measure, sides: &[String]) -> Table {
    let rate = measure.per_second(1.0).is_some();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec![String::new(), measure.unit().to_owned(), "lowest".into(), "highest".into()];
    if rate {
        header.push("1/s".into());
    }
    header.extend(["× iptables", "× plain"].map(String::from));
    table.set_header(header.clone());
    for side in sides {
        let Some(summary) = figures.summary(measure, side) else { continue };
        let mut row = vec![side.clone()];
        row.extend([summary.median, summary.minimum, summary.maximum].map(number));
        if let Some(rate) = measure.per_second(summary.median) {
            row.push(number(rate));
        }
        for reference in [Kind::Iptables, Kind::Plain] {
            let times = figures.times(measure, side, reference.name());
            row.push(times.map_or_else(|| "–".to_owned(), |times| format!("{times:.2}")));
        }
        table.add_row(row);
    }
    for column in 1..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// With as many digits as say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figure;

    #[test]
    fn ratios_stand_beside_the_medians() {
        let figure = |kind: Kind, value| Figure {
            measure: Measure::NewFlows,
            side: kind.name().into(),
            round: 0,
            value,
        };
        let figures = Figures {
            all: vec![
                figure(Kind::Plain, 1000.0),
                figure(Kind::Iptables, 4000.0),
                figure(Kind::Edge, 2000.0),
            ],
        };
        let sides = [Kind::Plain, Kind::Iptables, Kind::Nft, Kind::Edge].map(|kind| kind.name().to_owned());
        let text = report(&figures, &sides);
        assert!(text.starts_with("### new flows\n"));
        let row = text.lines().find(|line| line.contains("natbpf edge")).unwrap_or_default();
        let cells: Vec<&str> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["natbpf edge", "2000", "2000", "2000", "500000", "2.00", "0.50"]);
        assert!(!text.contains("nft"), "a side without figures has no row");
    }

    #[test]
    fn numbers_are_as_exact_as_they_are_large() {
        assert_eq!([0.1234, 12.34, 1234.5].map(number), ["0.12", "12.3", "1234"]);
    }
}
