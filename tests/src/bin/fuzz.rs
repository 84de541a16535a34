//! Random and damaged packets through the loaded object, by the million.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use lab::fuzz::{self, Options};
use lab::process::interrupt;

/// Send random and damaged packets through the datapath, and look at what becomes of each
///
/// Nothing may leave with an inside address, no checksum may break, every drop has to have one counted reason. Needs
/// root; the packets go nowhere.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit status: 0 when all packets were handled well, 1 when one was not; then it says how to see \
                        it again."
)]
struct Arguments {
    /// How many packets, all threads together
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,

    /// Send packets for so long, however many that are
    #[arg(long, conflicts_with = "packets")]
    seconds: Option<u64>,

    /// Where the first thread begins; another number every time if there is none
    #[arg(long)]
    seed: Option<u64>,

    /// Each has a datapath of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
}

fn main() -> ExitCode {
    interrupt::exit_status(start(&Arguments::parse()).map(|()| true))
}

fn start(arguments: &Arguments) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "loading BPF programs and making network namespaces needs root: run it with sudo"
    );
    interrupt::install()?;
    // Seconds since 1970, so that no two nights try the same.
    let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(now);
    let (start, mut out) = (Instant::now(), io::stdout());
    writeln!(out, "fuzz: seed {seed}, {} threads", arguments.threads)?;
    let packets = if arguments.seconds.is_some() { u64::MAX } else { arguments.packets };
    let limit = arguments.seconds.map(Duration::from_secs);
    let tally = fuzz::run(Options { seed, packets, threads: arguments.threads, limit })?;
    write!(out, "{tally}")?;
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "no rule was broken in {seconds:.0} s ({:.0} packets/s)", tally.packets as f64 / seconds)?;
    Ok(())
}
