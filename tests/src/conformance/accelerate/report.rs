//! The comparison for the terminal, for the document and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Comparison, LIBERAL, Tally, sum};
use crate::conformance::document::ACCELERATE;
use crate::conformance::report::{cell_text, indent, verdict};
use crate::conformance::row::Test;
use crate::conformance::run::Verdict;

/// One line while the rows run.
pub fn line(comparison: &Comparison) -> String {
    let Comparison { row, alone, accelerated, liberal: _, tally, took } = comparison;
    let repeated = tally.map_or_else(|| "-".to_owned(), |tally| tally.repeated().to_string());
    let mut text = format!(
        "{}  iptables {:<10} accelerated {:<10} {repeated:>7} repeated {:5.1} s",
        row.id,
        alone[0].name(),
        accelerated.name(),
        took.as_secs_f64(),
    );
    if comparison.varies() {
        text.push_str("  varies with iptables alone");
    }
    if tally.is_some_and(|tally| !tally.on) {
        text.push_str("  offload is off at the end");
    }
    if comparison.is_by_liberal() {
        let _ = write!(text, "  as with {LIBERAL} = 1");
    }
    if comparison.differs() {
        for (name, verdicts) in [("iptables", &alone[..]), ("accelerated", std::slice::from_ref(accelerated))]
        {
            for verdict in verdicts {
                let _ = write!(text, "\n     {name}: {}", indent(&verdict.text()));
            }
        }
    }
    text
}

/// What all rows add up to, and those that differ.
pub fn text(comparisons: &[Comparison]) -> String {
    let mut text = Sums::of(comparisons).text();
    for comparison in comparisons.iter().filter(|comparison| comparison.differs()) {
        let alone: Vec<_> = comparison.alone.iter().map(Verdict::text).collect();
        let _ = write!(
            text,
            "\n{} differs\n     iptables: {}\n     accelerated: {}\n",
            comparison.row.id,
            indent(&alone.join("\n")),
            indent(&comparison.accelerated.text()),
        );
    }
    text
}

/// What the rows add up to.
struct Sums {
    rows: usize,
    compared: usize,
    differing: Vec<&'static str>,
    by_liberal: Vec<&'static str>,
    varying: Vec<&'static str>,
    repeating: usize,
    off: Vec<&'static str>,
    tally: Tally,
}

impl Sums {
    fn of(comparisons: &[Comparison]) -> Self {
        let ids = |is: &dyn Fn(&Comparison) -> bool| {
            comparisons.iter().filter(|comparison| is(comparison)).map(|one| one.row.id).collect::<Vec<_>>()
        };
        let counted = |is: &dyn Fn(&Tally) -> bool| ids(&|one| one.tally.as_ref().is_some_and(is));
        Self {
            rows: comparisons.len(),
            compared: ids(&Comparison::is_possible).len(),
            differing: ids(&Comparison::differs),
            by_liberal: ids(&Comparison::is_by_liberal),
            varying: ids(&Comparison::varies),
            repeating: counted(&|tally| tally.repeated() > 0).len(),
            off: counted(&|tally| !tally.on),
            tally: sum(comparisons),
        }
    }

    fn text(&self) -> String {
        let Self { rows, compared, differing, by_liberal, varying, repeating, off, tally } = self;
        let list = |ids: &[&str]| match ids {
            [] => "0".to_owned(),
            ids => format!("{}: {}", ids.len(), ids.join(", ")),
        };
        let counts: Vec<_> =
            tally.counts().skip(1).map(|(name, count)| format!("`{name}` {count}")).collect();
        format!(
            "- {rows} rows, {compared} of them compared\n\
             - rows that differ: {}\n\
             - of these, with iptables alone the same comes out if `{LIBERAL}` is 1: {}\n\
             - rows whose outcome varies with iptables alone: {}\n\
             - packets repeated: {}, in {repeating} rows; {}\n\
             - rows at whose end nothing could be repeated: {}\n",
            list(differing),
            list(by_liberal),
            list(varying),
            tally.repeated(),
            counts.join(", "),
            list(off),
        )
    }
}

/// That part of `docs/conformance.md`. `machine` says where it was run: kernel and version of iptables.
pub fn markdown(comparisons: &[Comparison], machine: &str) -> String {
    let mut text = format!(
        "{ACCELERATE}\n\
         `natbpf accelerate` translates nothing. It repeats what the host does to packets, so whoever has iptables has \
         to see with\nit what he sees without. Each row with a test for netfilter is run twice: with iptables alone, \
         and with iptables and\n`natbpf accelerate` in the gateway. The same has to come out, word for word. Where it \
         does not, iptables alone is asked four\ntimes more, since what some rows see is a matter of chance; a row \
         differs if iptables alone never shows what came out. It is asked\nonce more then with `{LIBERAL}` = 1, which \
         `natbpf accelerate`\nsets: if that brings about the same, it is the sysctl that makes the difference.\nThe rows send \
         few packets of a flow, and the first ones of each are always the kernel's, so the sums say how much\nwas \
         repeated at all. Written by `cargo xtask \
         conformance -- --accelerate`, run on {machine}.\n\n\
         It fails when a row differs, when a test breaks, and when no packet was repeated in any row.\n\n{}",
        Sums::of(comparisons).text()
    );
    text.push_str("\n### Differences\n\n");
    let differing: Vec<_> = comparisons.iter().filter(|comparison| comparison.differs()).collect();
    if differing.is_empty() {
        text.push_str("None.\n");
    } else {
        text.push_str(
            "| row | statement | iptables | with `natbpf accelerate` | the same with the sysctl alone |\n\
             |---|---|---|---|---|\n",
        );
    }
    for comparison in differing {
        let Comparison { row, alone, accelerated, .. } = comparison;
        let by = if comparison.is_by_liberal() { "yes" } else { "no" };
        let [alone, accelerated] = [&alone[0], accelerated].map(verdict);
        let cells = [row.id.to_owned(), row.statement.to_owned(), alone, accelerated, by.to_owned()];
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell_text(&cell)).join(" | "));
    }
    text.push_str("\n### Not compared\n\n| row | statement | why |\n|---|---|---|\n");
    for comparison in comparisons.iter().filter(|comparison| !comparison.is_possible()) {
        let row = comparison.row;
        let cells = [row.id.to_owned(), row.statement.to_owned(), why_not(comparison)];
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell_text(&cell)).join(" | "));
    }
    text
}

/// Why there is nothing to compare.
fn why_not(comparison: &Comparison) -> String {
    match comparison.row.test {
        Test::Bridge(_) => "its section compares the bridge with and without natbpf already".to_owned(),
        Test::None(why) => why.to_owned(),
        Test::Both(_) | Test::Natbpf(_) => {
            "a row for natbpf's own NAT alone: iptables has nothing like it".to_owned()
        }
    }
}

/// Everything, for programs.
pub fn json(comparisons: &[Comparison], machine: &str) -> Value {
    let verdict = |verdict: &Verdict| json!({ "verdict": verdict.name(), "reason": verdict.reason() });
    let rows: Vec<_> = comparisons
        .iter()
        .map(|comparison| {
            let counts = |tally: &Tally| -> Value {
                tally
                    .counts()
                    .map(|(name, count)| (name.to_owned(), count.into()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            };
            json!({
                "id": comparison.row.id,
                "test": comparison.row.test_name(),
                "not_compared": (!comparison.is_possible()).then(|| why_not(comparison)),
                "iptables": comparison.alone.iter().map(verdict).collect::<Vec<_>>(),
                "accelerated": verdict(&comparison.accelerated),
                "liberal": comparison.liberal.as_ref().map(verdict),
                "differs": comparison.differs(),
                "counters": comparison.tally.as_ref().map(counts),
                "offload": comparison.tally.map(|tally| tally.on),
                "seconds": comparison.took.as_secs_f64(),
            })
        })
        .collect();
    json!({ "machine": machine, "rows": rows })
}
