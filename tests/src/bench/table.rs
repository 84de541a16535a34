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
        if matches!(measure, Measure::Repeated { .. }) {
            // Of interest only where it says that a figure is not what it seems to be.
            text.extend(sides.iter().filter_map(|side| not_repeated(figures, measure, side)));
        } else {
            let _ = writeln!(text, "### {measure}\n\n{}\n", table(figures, measure, sides));
        }
    }
    text
}

/// A paragraph on a side that left more than a hundredth to the kernel.
fn not_repeated(figures: &Figures, measure: Measure, side: &str) -> Option<String> {
    let share = figures.summary(measure, side)?.median;
    (share < 99.0).then(|| format!("{side}: {measure}: {} %\n\n", number(share)))
}

/// What sides are compared with, and the headings of the columns.
const REFERENCES: [(Kind, &str); 3] =
    [(Kind::Iptables, "× iptables"), (Kind::Nft, "× nft"), (Kind::Plain, "× plain")];

fn table(figures: &Figures, measure: Measure, sides: &[String]) -> Table {
    let rate = measure.per_second(1.0).is_some();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec![String::new(), measure.unit().to_owned(), "lowest".into(), "highest".into()];
    if rate {
        header.push("1/s".into());
    }
    // What does not take part is no reference.
    let references: Vec<_> = REFERENCES
        .into_iter()
        .filter(|(kind, _)| sides.iter().any(|side| side == kind.name()))
        .filter(|(kind, _)| figures.summary(measure, kind.name()).is_some())
        .collect();
    header.extend(references.iter().map(|(_, name)| (*name).to_owned()));
    table.set_header(header.clone());
    for side in sides {
        let Some(summary) = figures.summary(measure, side) else { continue };
        let mut row = vec![side.clone()];
        row.extend([summary.median, summary.minimum, summary.maximum].map(number));
        if let Some(rate) = measure.per_second(summary.median) {
            row.push(number(rate));
        }
        for (reference, _) in &references {
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
    use crate::traffic::Direction;

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
        assert!(!text.contains("nft"), "a side without figures has no row and no column");
    }

    #[test]
    fn what_was_left_to_the_kernel_is_said() {
        let figure = |direction, value| Figure {
            measure: Measure::Repeated { direction, flows: 1000 },
            side: Kind::Xdp.name().into(),
            round: 0,
            value,
        };
        let figures =
            Figures { all: vec![figure(Direction::Original, 99.9), figure(Direction::Reply, 12.5)] };
        let text = report(&figures, &[Kind::Plain, Kind::Xdp].map(|kind| kind.name().to_owned()));
        assert_eq!(
            text,
            "natbpf XDP: share repeated of the packets of 1,000 flows, reply direction: 12.5 %\n\n"
        );
    }

    #[test]
    fn numbers_are_as_exact_as_they_are_large() {
        assert_eq!([0.1234, 12.34, 1234.5].map(number), ["0.12", "12.3", "1234"]);
    }
}
