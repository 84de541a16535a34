//! Bars for the documentation.
//!
//! Written by hand: a chart is rectangles and text, for which a drawing library and its fonts would be a large
//! dependency, and text that is left to the reader's fonts makes small files that show what changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::figures::Figures;
use super::measure::{Group, Measure};
use super::table::number;
use crate::traffic::Direction;

const WIDTH: u32 = 760;
const NAMES: u32 = 190;
/// Room for a value behind the longest bar.
const VALUES: u32 = 90;
const BAR: u32 = 18;
const HEADING: u32 = 34;

/// A file each for what is compared at a glance.
pub fn draw(figures: &Figures, sides: &[String], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, title, belongs) in CHARTS {
        let measures: Vec<_> = figures.measures().into_iter().filter(|measure| belongs(*measure)).collect();
        if !measures.is_empty() {
            let path = folder.join(format!("{name}.svg"));
            fs::write(&path, chart(title, figures, &measures, sides))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

type Belongs = fn(Measure) -> bool;

const CHARTS: [(&str, &str, Belongs); 7] = [
    ("packets-original", "Nanoseconds a packet, instance to outside (less is better)", |measure| {
        matches!(measure, Measure::Packets { direction: Direction::Original, .. })
    }),
    ("packets-reply", "Nanoseconds a packet, outside to instance (less is better)", |measure| {
        matches!(measure, Measure::Packets { direction: Direction::Reply, .. })
    }),
    ("new-flows", "Nanoseconds a new flow, and a packet of the host (less is better)", |measure| {
        matches!(measure.group(), Group::New | Group::Host)
    }),
    ("bulk-tcp", "Gbit/s of bulk TCP (more is better)", |measure| measure.group() == Group::Stream),
    ("tcp-rates", "Requests and connections a second (more is better)", |measure| {
        matches!(measure, Measure::Requests | Measure::Connections)
    }),
    ("tcp-latency", "Microseconds of a request or a connection (less is better)", |measure| {
        matches!(measure, Measure::RequestLatency(_) | Measure::ConnectionLatency(_))
    }),
    ("memory", "Bytes of memory a flow (less is better)", |measure| measure.group() == Group::Memory),
];

fn chart(title: &str, figures: &Figures, measures: &[Measure], sides: &[String]) -> String {
    let mut body = String::new();
    let mut y = HEADING;
    for measure in measures {
        let bars: Vec<_> =
            sides.iter().filter_map(|side| Some((side, figures.summary(*measure, side)?.median))).collect();
        let longest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        y += BAR + 6;
        let _ = writeln!(
            body,
            r#"<text x="0" y="{y}" font-weight="bold">{}</text>"#,
            escape(&measure.to_string())
        );
        y += 8;
        for (side, value) in bars {
            let room = f64::from(WIDTH - NAMES - VALUES);
            let length = if longest > 0.0 { value / longest * room } else { 0.0 };
            let text = y + BAR - 5;
            let _ = writeln!(
                body,
                r#"<text x="0" y="{text}">{}</text><rect x="{NAMES}" y="{y}" width="{length:.1}" height="{}" fill="{}"/><text x="{:.1}" y="{text}">{}</text>"#,
                escape(side),
                BAR - 3,
                colour(side),
                f64::from(NAMES) + length + 6.0,
                number(value),
            );
            y += BAR;
        }
    }
    let height = y + 10;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="0" y="18" font-size="15">{}</text>
{body}</svg>
"##,
        escape(title)
    )
}

/// The same side has the same colour in every chart.
fn colour(side: &str) -> &'static str {
    match side.split(' ').next() {
        Some("natbpf") if side.contains("accelerate") => "#3f6fb0",
        Some("natbpf") => "#2a7f62",
        Some("iptables" | "nft") => "#c0504d",
        Some("plain") => "#808080",
        _ => "#b8c4d6",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figure;

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let figure =
            |side: &str, value| Figure { measure: Measure::NewFlows, side: side.into(), round: 0, value };
        let figures = Figures { all: vec![figure("iptables <&>", 4000.0), figure("natbpf edge", 1000.0)] };
        let sides = ["iptables <&>", "natbpf edge", "absent"].map(String::from);
        let svg = chart("A & B", &figures, &figures.measures(), &sides);
        assert!(svg.contains("A &amp; B") && svg.contains("iptables &lt;&amp;&gt;"));
        assert!(svg.contains(r#"width="480.0""#) && svg.contains(r#"width="120.0""#));
        assert!(svg.contains(">4000<") && !svg.contains("absent"));
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
