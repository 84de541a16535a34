//! The conformance table, run: natbpf and netfilter beside each other, row by row.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use lab::Cmd;
use lab::conformance::accelerate::{self, Comparison};
use lab::conformance::row::Row;
use lab::conformance::run::{Options, Report};
use lab::conformance::{document, report, rows, run};
use lab::process::interrupt;

/// Run the conformance table: what natbpf meets, and what netfilter meets in its place
///
/// Every row is a statement of an RFC or of what users of iptables MASQUERADE rely on, with a test that builds
/// hosts, a gateway and an outside world in network namespaces. It is run with natbpf, then with iptables. Rows about
/// bridging have stations on a Linux bridge: with `natbpf accelerate`, then alone. Needs root; leaves nothing behind.
///
/// With --accelerate, iptables alone is compared with iptables and `natbpf accelerate`, which repeats what iptables
/// does: the same has to come out.
///
/// A run of all rows writes docs/conformance.md, each of the two its own part of it.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit status: 0 when natbpf meets all rows of level MUST, MUST NOT, SEC and COMPAT or has a \
                        reason why not, and no row about bridging is worse than with the bridge alone; 1 when it is not \
                        so, or a test broke; 2 for wrong usage. With \
                        --accelerate: 0 when no row differs; 1 when one does, a test broke, or nothing was \
                        repeated.\n\n\
                        Examples:\n  \
                        conformance --section U,T\n  \
                        conformance --row U01,S01 --kind natbpf\n  \
                        conformance --accelerate --section U,T"
)]
struct Arguments {
    /// Only rows that begin with these letters, such as U,T
    #[arg(long, value_name = "LETTERS", value_delimiter = ',')]
    section: Vec<String>,

    /// Only these rows, such as U01,S01
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    row: Vec<String>,

    /// Only with this translator
    #[arg(long)]
    kind: Option<Only>,

    /// Compare iptables alone with iptables and `natbpf accelerate` beside it
    #[arg(long, conflicts_with_all = ["kind", "verbose"])]
    accelerate: bool,

    /// Write the table to this file. Without it a run of all rows writes docs/conformance.md, others nothing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write everything to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Rows that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,

    /// Show status and flow table of the translator with every row that it does not meet
    #[arg(short, long)]
    verbose: bool,

    /// List the rows and their tests, and run nothing
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Natbpf,
    Netfilter,
}

fn main() -> ExitCode {
    interrupt::exit_status(start(&Arguments::parse()))
}

/// Whether all is as it must be.
fn start(arguments: &Arguments) -> Result<bool> {
    let rows = choose(arguments)?;
    if arguments.list {
        for row in &rows {
            let case = row.test_name().unwrap_or("-");
            say(&format!("{}  {:<10} {case}", row.id, row.level.to_string()));
        }
        return Ok(true);
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the tests make network namespaces and load BPF programs, which needs root: run it with sudo"
    );
    interrupt::install()?;
    if arguments.accelerate { compare(arguments, &rows) } else { table(arguments, &rows) }
}

/// natbpf and netfilter beside each other.
fn table(arguments: &Arguments, rows: &[&'static Row]) -> Result<bool> {
    let options = Options {
        natbpf: arguments.kind != Some(Only::Netfilter),
        netfilter: arguments.kind != Some(Only::Natbpf),
        verbose: arguments.verbose,
    };
    let machine = machine()?;
    let done = |report: &Report| say(&report::line(report));
    let reports = run::run(rows, options, arguments.jobs.into(), done)?;
    say(&format!("\n{}", report::text(&reports)));
    if let Some(path) = document(arguments) {
        write(&path, &document::with_table(&there(&path)?, &report::markdown(&reports, &machine)))?;
    }
    if let Some(path) = &arguments.json {
        write(path, &format!("{:#}\n", report::json(&reports, &machine)))?;
    }
    for report in reports.iter().filter(|report| report.decided_in_vain()) {
        say(&format!("{}: natbpf meets it now; take `decided` out of the row", report.row.id));
    }
    let failures: Vec<_> = reports.iter().filter_map(Report::failure).collect();
    failures.iter().for_each(|failure| say(failure));
    Ok(failures.is_empty())
}

/// iptables alone, and with `natbpf accelerate`.
fn compare(arguments: &Arguments, rows: &[&'static Row]) -> Result<bool> {
    let machine = machine()?;
    let done = |comparison: &Comparison| say(&accelerate::report::line(comparison));
    let comparisons = accelerate::run(rows, arguments.jobs.into(), done)?;
    say(&format!("\n{}", accelerate::report::text(&comparisons)));
    if let Some(path) = document(arguments) {
        let part = accelerate::report::markdown(&comparisons, &machine);
        write(&path, &document::with_accelerate(&there(&path)?, &part))?;
    }
    if let Some(path) = &arguments.json {
        write(path, &format!("{:#}\n", accelerate::report::json(&comparisons, &machine)))?;
    }
    let failures: Vec<_> = comparisons.iter().filter_map(Comparison::failure).collect();
    failures.iter().for_each(|failure| say(failure));
    // Of all rows; some alone may have no flow of more than two packets.
    let in_vain = is_whole(arguments) && accelerate::sum(&comparisons).repeated() == 0;
    if in_vain {
        say("no packet was repeated, so nothing was compared");
    }
    Ok(failures.is_empty() && !in_vain)
}

/// A line on standard output. Whoever reads no further (`| head`) does not end the run.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn choose(arguments: &Arguments) -> Result<Vec<&'static Row>> {
    for id in &arguments.row {
        ensure!(rows::find(id).is_some(), "there is no row {id}; --list shows all");
    }
    let letters = arguments.section.concat().to_uppercase();
    if let Some(letter) =
        letters.chars().find(|letter| rows::SECTIONS.iter().all(|has| has.letter != *letter))
    {
        let all: String = rows::SECTIONS.iter().map(|section| section.letter).collect();
        bail!("there is no section {letter}; there are {all}");
    }
    let everything = arguments.section.is_empty() && arguments.row.is_empty();
    let chosen = |row: &Row| {
        let named = arguments.row.iter().any(|id| row.id.eq_ignore_ascii_case(id));
        everything || named || row.id.starts_with(|letter| letters.contains(letter))
    };
    Ok(rows::all().filter(|row| chosen(row)).collect())
}

/// Whether no rows are chosen.
const fn is_whole(arguments: &Arguments) -> bool {
    arguments.section.is_empty() && arguments.row.is_empty()
}

/// Where the document goes, if anywhere.
fn document(arguments: &Arguments) -> Option<PathBuf> {
    let everything = is_whole(arguments) && arguments.kind.is_none();
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md"));
    arguments.out.clone().or_else(|| (everything && docs.is_file()).then(|| docs.to_owned()))
}

/// The document so far; empty if there is none.
fn there(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("written: {}", path.display()));
    Ok(())
}

fn machine() -> Result<String> {
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's version")?;
    let iptables = Cmd::new("iptables").arg("--version").output_text()?;
    Ok(format!("Linux {} with {}", kernel.trim(), iptables.trim().replacen("iptables v", "iptables ", 1)))
}
