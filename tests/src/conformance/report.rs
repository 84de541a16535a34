//! The outcome as a table for the terminal, a document and JSON.

use std::fmt::Write;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::row::{Row, Test};
use super::rows::SECTIONS;
use super::run::{Report, Verdict};

/// One line while the rows run.
pub fn line(report: &Report) -> String {
    let row = report.row;
    let mut text = format!(
        "{}  {:<10} {:<9} natbpf {:<10} netfilter {:<10} {:5.1} s",
        row.id,
        row.level.to_string(),
        row.test_name().map_or("no test", |_| "tested"),
        report.natbpf.name(),
        report.netfilter.name(),
        report.took.as_secs_f64(),
    );
    for (name, verdict) in [("natbpf", &report.natbpf), ("netfilter", &report.netfilter)] {
        if let Some(why) = verdict.reason() {
            let _ = write!(text, "\n     {name}: {}", indent(why));
        }
    }
    if !report.account.is_empty() {
        let _ = write!(text, "\n     {}", indent(&report.account));
    }
    text
}

pub(super) fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n     ")
}

/// All rows, and the counts.
pub fn text(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["row", "level", "natbpf", "netfilter", "test"]);
    for report in reports {
        let case = report.row.test_name().map_or_else(|| untested(report.row), str::to_owned);
        let decided = if report.row.decided.is_some() { " (decided)" } else { "" };
        table.add_row([
            report.row.id.to_owned(),
            report.row.level_text(),
            format!("{}{decided}", report.natbpf.name()),
            report.netfilter.name().to_owned(),
            case,
        ]);
    }
    format!("{table}\n\n{}", Counts::of(reports).text())
}

/// Why a row has no test; empty where it has one.
pub(super) fn untested(row: &Row) -> String {
    match row.test {
        Test::None(reason) => reason.to_owned(),
        Test::Both(_) | Test::Natbpf(_) | Test::Bridge(_) => String::new(),
    }
}

/// What the rows add up to.
struct Counts {
    rows: usize,
    tested: usize,
    unavailable: Vec<&'static str>,
    natbpf: usize,
    netfilter: usize,
    compared: usize,
    better: Vec<&'static str>,
    worse: Vec<&'static str>,
}

impl Counts {
    fn of(reports: &[Report]) -> Self {
        let count = |is: &dyn Fn(&Report) -> bool| reports.iter().filter(|report| is(report)).count();
        let ids = |is: &dyn Fn(&Report) -> bool| {
            reports.iter().filter(|report| is(report)).map(|report| report.row.id).collect::<Vec<_>>()
        };
        let met = |verdict: &Verdict| *verdict == Verdict::Meets;
        let unmet = |verdict: &Verdict| matches!(verdict, Verdict::Fails(_) | Verdict::Partly(_));
        Self {
            rows: reports.len(),
            tested: count(&|report| report.row.test_name().is_some()),
            unavailable: ids(&|report| matches!(report.natbpf, Verdict::Unavailable(_))),
            natbpf: count(&|report| met(&report.natbpf)),
            netfilter: count(&|report| met(&report.netfilter)),
            compared: count(&|report| matches!(report.row.test, Test::Both(_) | Test::Bridge(_))),
            better: ids(&|report| met(&report.natbpf) && unmet(&report.netfilter)),
            worse: ids(&|report| met(&report.netfilter) && unmet(&report.natbpf)),
        }
    }

    fn text(&self) -> String {
        let Self { rows, tested, unavailable, natbpf, netfilter, compared, better, worse } = self;
        let list =
            |ids: &[&str]| if ids.is_empty() { String::new() } else { format!(": {}", ids.join(", ")) };
        format!(
            "- {rows} rows, {tested} of them with a test\n\
             - natbpf meets {natbpf} of {tested}\n\
             - netfilter meets {netfilter} of the {compared} that it can be compared in\n\
             - natbpf meets and netfilter does not, or only partly: {}{}\n\
             - netfilter meets and natbpf does not, or only partly: {}{}\n\
             - not to be had on this kernel: {}{}\n",
            better.len(),
            list(better),
            worse.len(),
            list(worse),
            unavailable.len(),
            list(unavailable),
        )
    }
}

/// The document `docs/conformance.md`. `machine` says where it was run: kernel and version of iptables.
pub fn markdown(reports: &[Report], machine: &str) -> String {
    let mut text = format!(
        "# Conformance\n\n\
         What the RFCs ask of a NAT, what users of iptables MASQUERADE rely on and what keeps an attacker out, row by \
         row: does\nnatbpf do it, and does netfilter (iptables with conntrack) do it in the same place? Each row is a \
         test that ran with real\npackets in network namespaces, with natbpf and then with the nearest configuration \
         of iptables. The last section has a\nLinux bridge with `natbpf accelerate` on its ports, and the bridge \
         alone. Written by `cargo xtask conformance`, run on {machine}.\n\n\
         ```\n\
         cargo xtask conformance                       # every row; writes this file\n\
         cargo xtask conformance -- --section U,T      # some sections\n\
         cargo xtask conformance -- --row U01,S01      # some rows\n\
         cargo xtask conformance -- --accelerate       # iptables with `natbpf accelerate` beside it\n\
         ```\n\n\
         It fails when a test breaks, and when natbpf does not meet a row of level MUST, MUST NOT, SEC or COMPAT and \
         no reason is\ngiven here; of bridging, when natbpf meets less than the bridge alone, whatever \
         the level. SEC and COMPAT are ours: what an\nattacker must not be able to do, and what a \
         drop-in has to keep. The tests are in `tests/src/conformance/rows`.\n\n{}",
        Counts::of(reports).text()
    );
    for section in SECTIONS {
        let reports: Vec<_> =
            reports.iter().filter(|report| report.row.id.starts_with(section.letter)).collect();
        if reports.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## {}\n\n{}| row | statement | level | {} | {} | test |\n|---|---|---|---|---|---|\n",
            section.title, section.about, section.sides[0], section.sides[1],
        );
        for report in reports {
            let _ = writeln!(text, "{}", markdown_row(report));
        }
    }
    text
}

fn markdown_row(report: &Report) -> String {
    let row = report.row;
    let mut natbpf = verdict(&report.natbpf);
    for remark in
        row.decided.map(|why| format!("decided: {why}")).into_iter().chain(row.note.map(str::to_owned))
    {
        let _ = write!(natbpf, "; {remark}");
    }
    let evidence = row.test_name().map_or_else(|| untested(row), |name| format!("`{name}`"));
    let statement = format!("{} ({})", row.statement, row.reference);
    let cells =
        [row.id.to_owned(), statement, row.level_text(), natbpf, verdict(&report.netfilter), evidence];
    format!("| {} |", cells.map(|cell| cell_text(&cell)).join(" | "))
}

/// As a cell says it.
pub(super) fn verdict(verdict: &Verdict) -> String {
    match (verdict, verdict.reason()) {
        (Verdict::Meets, _) => "yes".to_owned(),
        (Verdict::Fails(_), Some(why)) => format!("**no**: {why}"),
        (Verdict::Partly(_), Some(why)) => format!("partly: {why}"),
        (Verdict::Error(_), Some(why)) => format!("error: {why}"),
        (Verdict::Unavailable(_), Some(why)) => format!("– ({why})"),
        (Verdict::NotTested, _) => "–".to_owned(),
        (verdict, _) => verdict.name().to_owned(),
    }
}

/// Text that a cell of a table can hold: one line, no tags, no bars. Code between backquotes stays as it is.
pub(super) fn cell_text(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let parts = text.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => part.replace('<', "&lt;"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// Everything, for programs.
pub fn json(reports: &[Report], machine: &str) -> Value {
    let verdict = |verdict: &Verdict| json!({ "verdict": verdict.name(), "reason": verdict.reason() });
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            let row = report.row;
            json!({
                "id": row.id,
                "reference": row.reference,
                "statement": row.statement,
                "level": row.level.to_string(),
                "remark": (!row.remark.is_empty()).then_some(row.remark),
                "test": row.test_name(),
                "untested": row.test_name().is_none().then(|| untested(row)),
                "natbpf": verdict(&report.natbpf),
                "netfilter": verdict(&report.netfilter),
                "decided": row.decided,
                "note": row.note,
                "seconds": report.took.as_secs_f64(),
            })
        })
        .collect();
    json!({ "machine": machine, "rows": rows })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::row::{Case, Level, Outcome, row};
    use super::*;

    static MUST: Row = row("U01", Level::Must, "RFC 4787 REQ-1").says("one <port> | for `<all>`");

    fn report(natbpf: Verdict, netfilter: Verdict) -> Report {
        Report { row: &MUST, natbpf, netfilter, account: String::new(), took: Duration::ZERO }
    }

    #[test]
    fn a_required_row_that_fails_without_a_reason_fails_the_command() {
        let fails = || Verdict::Fails("it forgot".to_owned());
        let failure = report(fails(), Verdict::Meets).failure();
        assert_eq!(failure.as_deref(), Some("U01 (MUST): natbpf fails: it forgot"));
        assert_eq!(report(Verdict::Meets, fails()).failure(), None);
        static DECIDED: Row = row("U01", Level::Must, "").decided("better so");
        assert_eq!(Report { row: &DECIDED, ..report(fails(), Verdict::Meets) }.failure(), None);
        static SHOULD: Row = row("U01", Level::Should, "");
        assert_eq!(Report { row: &SHOULD, ..report(fails(), Verdict::Meets) }.failure(), None);
        let broken = report(Verdict::Meets, Verdict::Error("no tcpdump".to_owned())).failure();
        assert!(broken.is_some_and(|why| why.contains("broke with netfilter: no tcpdump")));
    }

    #[test]
    fn a_row_about_bridging_fails_where_the_bridge_alone_does_better() {
        static MAY: Row = row("B26", Level::May, "").bridge(Case::new("", |_| Ok(Outcome::Meets)));
        let failure = |natbpf, alone| Report { row: &MAY, ..report(natbpf, alone) }.failure();
        let [fails, partly] = [Verdict::Fails("heard".to_owned()), Verdict::Partly("heard".to_owned())];
        assert_eq!(failure(fails.clone(), Verdict::Meets).as_deref(), Some("B26 (MAY): natbpf fails: heard"));
        assert!(failure(fails.clone(), partly.clone()).is_some());
        assert_eq!(failure(fails.clone(), fails), None);
        assert_eq!(failure(Verdict::Meets, partly), None);
    }

    #[test]
    fn a_cell_stays_a_cell() {
        let reports = [report(Verdict::Fails("a | b\nc".to_owned()), Verdict::Meets)];
        let text = markdown(&reports, "Linux 6.18");
        let line = text.lines().find(|line| line.starts_with("| U01")).unwrap_or_default();
        let expected = "| U01 | one &lt;port> \\| for `<all>` (RFC 4787 REQ-1) | MUST | **no**: a \\| b c | yes | not written yet |";
        assert_eq!(line, expected);
        assert!(text.contains(
            "does not, or only partly: 0\n- netfilter meets and natbpf does not, or only partly: 1: U01"
        ));
    }
}
