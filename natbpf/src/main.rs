//! The command.

use std::process::ExitCode;

use clap::Parser as _;
use natbpf::{
    cli::Cli,
    commands, logging, netns,
    output::{self, OutputError},
};

fn main() -> ExitCode {
    output::outlive_limits();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return explain(&usage),
    };
    logging::start(cli.log_format, cli.verbose);
    match run(&cli) {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The exit status says it, too.
            let _ = output::complain(format_args!("natbpf: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// How the command is used, if it was asked for, or used otherwise.
fn explain(usage: &clap::Error) -> ExitCode {
    let wrong = usage.use_stderr();
    match usage.print().map_err(OutputError::from) {
        Err(OutputError::Failed(_)) if !wrong => ExitCode::FAILURE,
        _ if wrong => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
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
