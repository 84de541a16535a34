//! A lab on this machine: real traffic through natbpf, what became of it, and nothing left behind.

mod accelerate;
mod masquerade;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use lab::process::interrupt::{self, Interrupted};

use accelerate::Rates;
use masquerade::{Choice, Nat};

const INTERRUPTED: u8 = 130;

/// Instances, what connects them and an outside world in network namespaces, with natbpf and real programs.
///
/// The first part is natbpf's own NAT in a gateway, the second is `accelerate`. Everything is removed at the end, also
/// after Ctrl-C.
#[derive(Parser, Debug)]
#[command(name = "lab", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    common: Common,
    /// What translates in the gateway of the first part; the second is left out without natbpf
    #[arg(long, value_enum, default_value = "natbpf")]
    nat: Nat,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// A node of a cloud, nine devices between instance and outside, and natbpf accelerate on it
    ///
    /// Bridges, veth pairs, and a router with iptables MASQUERADE in a namespace of its own stay as they are. It prints
    /// the devices that a packet passes, what natbpf repeats, and how many packets a second go through with natbpf
    /// and without. It fails if anything does not arrive, or nothing is repeated.
    ///
    /// `cargo xtask run -- accelerate EDGE…` runs natbpf on this host instead.
    Accelerate(Common),
}

#[derive(Args, Clone, Copy, Debug)]
struct Common {
    /// Wait for Enter before everything is removed, to look around
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    rates: Rates,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let start = Instant::now();
    lab::process::only_for_the_lab();
    let outcome = interrupt::install().and_then(|()| run(&cli));
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("Every step worked. {seconds:.1} s");
            ExitCode::SUCCESS
        }
        Err(error) if error.is::<Interrupted>() => {
            println!("Interrupted after {seconds:.1} s");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let Some(Part::Accelerate(common)) = cli.part {
        return accelerate::run(common.keep, common.rates);
    }
    masquerade::run(Choice { keep: cli.common.keep, nat: cli.nat })?;
    if cli.nat == Nat::Natbpf {
        println!();
        accelerate::run(cli.common.keep, cli.common.rates)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
