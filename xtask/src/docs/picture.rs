//! The picture of the README: packets a second, from the tables of `docs/performance.md`.

use std::fmt::Write as _;

use super::{compare_or_renew, read};
use crate::folders::workspace;

const PICTURE: &str = "docs/performance/packets-per-second.svg";

/// The column of the tables that is drawn, as their heads have it.
const FLOWS: &str = "1,000";

const KERNEL: &str = "#808080";
const NETFILTER: &str = "#c0504d";
const NATBPF: &str = "#2a7f62";

/// What is drawn of a table, in which colour.
type Bars = &'static [(&'static str, &'static str)];

/// What a cloud's node has, and nothing of it is changed.
const REPEATED: Bars = &[
    ("plain forwarding", KERNEL),
    ("iptables MASQUERADE", NETFILTER),
    ("natbpf accelerate", NATBPF),
    ("natbpf accelerate XDP", NATBPF),
];
const TRANSLATED: Bars = &[
    ("plain forwarding", KERNEL),
    ("iptables MASQUERADE", NETFILTER),
    ("natbpf edge", NATBPF),
    ("natbpf offload", NATBPF),
    ("natbpf XDP", NATBPF),
];

/// The first word of a table's head, what it shows, and its bars.
const GROUPS: [(&str, &str, Bars); 4] = [
    ("node out", "nine devices and a router, out of an instance", REPEATED),
    ("node in", "nine devices and a router, into an instance", REPEATED),
    ("out", "one gateway, out of an instance", TRANSLATED),
    ("in", "one gateway, into an instance", TRANSLATED),
];

/// Nanoseconds a packet of each side that a table has: `| side | 1.72 (882) | …`.
fn nanoseconds(document: &str, head: &str) -> Vec<(String, f64)> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let head = format!("| {head}, flows |");
    let mut lines = document.lines().skip_while(|line| !line.starts_with(&head));
    let names = cells(lines.next().unwrap_or_else(|| panic!("there is no table `{head}`")));
    let column = names.iter().position(|name| name == FLOWS).expect("the table has the column");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let row = cells(row);
        let number = row[column].split(['(', ')']).nth(1).and_then(|number| number.parse().ok());
        (row[0].clone(), number.unwrap_or_else(|| panic!("no nanoseconds in {row:?}")))
    })
    .collect()
}

fn draw(document: &str) -> String {
    const NAMES: usize = 170;
    const ROW: usize = 18;
    // Pixels for a million packets a second.
    const SCALE: f64 = 130.0;
    let mut bars = String::new();
    let mut y = 40;
    for (head, title, sides) in GROUPS {
        let _ = writeln!(bars, r#"<text x="0" y="{y}" font-weight="bold">{title}</text>"#);
        y += ROW;
        let measured = nanoseconds(document, head);
        for (side, colour) in sides {
            let found = measured.iter().find(|(name, _)| name == side);
            let (_, nanoseconds) = found.unwrap_or_else(|| panic!("no row of {side}"));
            let millions = 1000.0 / nanoseconds;
            let width = millions * SCALE;
            let (top, end) = (y - 12, NAMES as f64 + width + 6.0);
            let _ = writeln!(
                bars,
                r#"<text x="8" y="{y}">{side}</text><rect x="{NAMES}" y="{top}" width="{width:.1}" height="14" fill="{colour}"/><text x="{end:.1}" y="{y}">{millions:.2}</text>"#
            );
            y += ROW;
        }
        y += 8;
    }
    let height = y - 8;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="0" y="16" font-size="14">Million packets a second on one processor, {FLOWS} flows (more is better)</text>
{bars}</svg>
"##
    )
}

#[test]
fn the_picture_is_what_the_tables_say() {
    let document = read(&workspace().join("docs/performance.md"));
    compare_or_renew(PICTURE, &draw(&document), "picture");
}

#[test]
fn tables_are_read_by_their_heads() {
    let table =
        "| out, flows | 1 | 1,000 |\n|---|---|---|\n| natbpf XDP | 4.92 (309) | 5.05 (296) |\n\n| x |";
    assert_eq!(nanoseconds(table, "out"), [("natbpf XDP".to_owned(), 296.0)]);
}
