//! What is tried on every kernel, and the table of what came out.

use std::fmt::Write as _;

use super::console::{self, Step, Tests};

/// End-to-end tests for every kernel: of each part a few that are over soon, even where a processor is emulated.
const REPRESENTATIVE: [&str; 10] = [
    "address::m05",
    "icmp::",
    "leak::no_odd",
    "mapping::",
    "offload::",
    "ports::",
    "protocols::",
    "rules::",
    "uplinks::",
    "xdp::",
];

/// How much of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The programs are loaded and the standard scenario is run, no more.
    Quick,
    Representative,
    All,
}

/// The test programs that are needed.
pub fn test_programs(extent: Extent) -> &'static [&'static str] {
    if extent == Extent::Quick { &["object"] } else { &["object", "e2e"] }
}

/// The script that the virtual machine runs. Each step is tried whatever became of the one before.
pub fn job(extent: Extent) -> String {
    let mut lines = vec![
        "status=0".to_owned(),
        // An emulated processor takes its time for a packet.
        "step standard lab --packets 5000 || status=1".into(),
        "step nothing_left nothing_left || status=1".into(),
        "step verified object --nocapture verified_instructions || status=1".into(),
    ];
    if extent != Extent::Quick {
        lines.push("step object object --test-threads=2 || status=1".into());
    }
    let filter = match extent {
        Extent::Quick => None,
        Extent::Representative => Some(REPRESENTATIVE.join(" ")),
        Extent::All => Some(String::new()),
    };
    lines.extend(filter.map(|filter| format!("step e2e e2e --test-threads=1 {filter} || status=1")));
    lines.push("step nothing_left_either nothing_left || status=1".into());
    // Last, as it cannot be taken back.
    lines.push("step locked_down locked_down || status=1".into());
    // Sourced: the last status is the job's.
    lines.push("(exit $status)\n".into());
    lines.join("\n")
}

/// A kernel and what came out there.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub kernel: String,
    pub steps: Vec<Step>,
    pub complaints: usize,
    pub seconds: u64,
    pub succeeded: bool,
}

impl Outcome {
    fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    fn attached_by(&self) -> &str {
        self.step("standard").and_then(|step| console::attached_by(&step.output)).unwrap_or("-")
    }

    fn standard(&self) -> &'static str {
        let has_failed = |step: &&Step| !step.succeeded();
        let mut parts =
            self.steps.iter().filter(|step| step.name == "standard" || step.name.starts_with("nothing_left"));
        match parts.find(has_failed) {
            None if self.step("standard").is_some() => "ok",
            _ => "FAILED",
        }
    }

    fn tests(&self, name: &str) -> String {
        let Some(step) = self.step(name) else { return "not run".into() };
        match console::tests(&step.output) {
            Some(Tests { passed, failed: 0 }) => format!("{passed} ok"),
            Some(Tests { passed, failed }) => format!("{passed} ok, {failed} FAILED"),
            None => "ended early".into(),
        }
    }

    fn verified(&self) -> Vec<(&str, u64)> {
        self.step("verified").map(|step| console::verified(&step.output)).unwrap_or_default()
    }
}

/// One line for a step that has ended.
pub fn line(step: &Step) -> String {
    let Some(ended) = step.ended else { return format!("{:<20} did not end", step.name) };
    let what = if ended.status == 0 { "ok".to_owned() } else { format!("FAILED (status {})", ended.status) };
    let tests = console::tests(&step.output)
        .map(|Tests { passed, failed }| format!("{passed} passed, {failed} failed"));
    let line = format!("{:<20} {what:<8} {}", step.name, tests.unwrap_or_default());
    line.trim_end().to_owned()
}

/// Kernels with their results, then programs with the instructions that each kernel's verifier followed.
pub fn table(outcomes: &[Outcome]) -> String {
    let head =
        ["kernel", "attached by", "standard", "object tests", "e2e tests", "kernel's complaints", "minutes"];
    let mut results = vec![head.map(str::to_owned).to_vec()];
    results.extend(outcomes.iter().map(|outcome| {
        vec![
            outcome.kernel.clone(),
            outcome.attached_by().to_owned(),
            outcome.standard().to_owned(),
            outcome.tests("object"),
            outcome.tests("e2e"),
            outcome.complaints.to_string(),
            format!("{:.1}", outcome.seconds as f64 / 60.0),
        ]
    }));

    let mut programs: Vec<_> = outcomes.iter().flat_map(Outcome::verified).map(|(name, _)| name).collect();
    programs.sort_unstable();
    programs.dedup();
    let mut head = vec!["instructions verified".to_owned()];
    head.extend(outcomes.iter().map(|outcome| outcome.kernel.clone()));
    let mut counts = vec![head];
    counts.extend(programs.into_iter().map(|program| {
        let count = |outcome: &Outcome| {
            let verified = outcome.verified().into_iter().find(|(name, _)| *name == program);
            verified.map_or("-".into(), |(_, count)| count.to_string())
        };
        [program.to_owned()].into_iter().chain(outcomes.iter().map(count)).collect()
    }));
    format!("{}\n{}", aligned(&results), aligned(&counts))
}

/// Columns as wide as the longest of their cells.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column))).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "@@step standard\nready: masquerading, attached by clsact\n@@end standard 0 9\n\
        @@step nothing_left\n@@end nothing_left 0 0\n\
        @@step verified\nreap   1174 instructions verified\n@@end verified 0 1\n\
        @@step object\ntest result: FAILED. 130 passed; 2 failed; 0 ignored\n@@end object 101 70\n";

    fn outcome(kernel: &str, output: &str) -> Outcome {
        let steps = console::steps(output);
        Outcome { kernel: kernel.into(), steps, complaints: 0, seconds: 90, succeeded: false }
    }

    #[test]
    fn table_says_what_came_out() {
        let table = table(&[outcome("6.1.0", OUTPUT), outcome("7.3.4", "")]);
        let lines: Vec<_> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "6.1.0 clsact ok 130 ok, 2 FAILED not run 0 1.5");
        assert_eq!(lines[2], "7.3.4 - FAILED not run not run 0 1.5");
        assert_eq!(lines[4..], ["instructions verified 6.1.0 7.3.4", "reap 1174 -"]);
    }

    #[test]
    fn namespaces_that_were_left_behind_spoil_the_standard() {
        let output = OUTPUT.replace("@@end nothing_left 0 0", "@@end nothing_left 1 0");
        assert_eq!(outcome("6.1.0", &output).standard(), "FAILED");
    }

    #[test]
    fn quick_form_loads_everything_and_runs_no_test_suite() {
        assert!(!job(Extent::Quick).contains("e2e") && !job(Extent::Quick).contains("step object"));
        assert!(job(Extent::Representative).contains("ports::"));
        assert!([Extent::Quick, Extent::All].iter().all(|extent| job(*extent).contains("locked_down")));
        assert!(job(Extent::All).contains("step e2e e2e --test-threads=1  ||"));
        assert_eq!(test_programs(Extent::Quick), ["object"]);
    }

    #[test]
    fn line_of_a_step_has_its_numbers() {
        let steps = console::steps(OUTPUT);
        assert_eq!(line(&steps[0]), "standard             ok");
        assert_eq!(line(&steps[3]), "object               FAILED (status 101) 130 passed, 2 failed");
    }
}
