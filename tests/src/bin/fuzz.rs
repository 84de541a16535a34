//! Random and damaged packets through the loaded object, by the million.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use lab::fuzz::{self, Options, repeat};
use lab::process::interrupt;

/// Send random and damaged packets through the datapath, and look at what becomes of each
///
/// Of natbpf's own NAT: nothing may leave with an inside address, no checksum may break, every drop has to have one
/// counted reason. Of what is repeated from edge to edge: it equals what the kernel would have sent. Needs root; the
/// packets go nowhere.
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

    /// Only packets that natbpf's own NAT has
    #[arg(long, conflicts_with = "repeat")]
    nat: bool,

    /// Only packets that go from edge to edge
    #[arg(long)]
    repeat: bool,

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
    let mut out = io::stdout();
    writeln!(out, "fuzz: seed {seed}, {} threads", arguments.threads)?;
    let packets = if arguments.seconds.is_some() { u64::MAX } else { arguments.packets };
    let limit = arguments.seconds.map(Duration::from_secs);
    // Each has half of the packets, or of the time.
    let both = if arguments.nat || arguments.repeat { 1 } else { 2 };
    let limit = limit.map(|limit| limit / both);
    let share = Options { seed, packets: packets / u64::from(both), threads: arguments.threads, limit };
    if !arguments.repeat {
        let (start, tally) = (Instant::now(), fuzz::run(share)?);
        write!(out, "{tally}")?;
        end(&mut out, tally.packets, start)?;
    }
    if !arguments.nat {
        let (start, tally) = (Instant::now(), repeat::run(share)?);
        write!(out, "{tally}")?;
        end(&mut out, tally.packets, start)?;
    }
    Ok(())
}

fn end(out: &mut impl Write, packets: u64, start: Instant) -> Result<()> {
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "no rule was broken in {seconds:.0} s ({:.0} packets/s)", packets as f64 / seconds)?;
    Ok(())
}
