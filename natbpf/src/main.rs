//! The command.

use std::process::ExitCode;

use clap::Parser as _;
use natbpf::{cli::Cli, commands, logging, netns};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format, cli.verbose);
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("natbpf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    // Before there are threads: they would stay behind.
    if let Some(name) = &cli.netns {
        netns::enter(name)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::run(cli))
}
