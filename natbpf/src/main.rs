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
    let code = match run(&cli) {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&cli, &error);
            ExitCode::FAILURE
        }
    };
    logging::drain();
    code
}

/// The exit status says it, too.
fn complain(cli: &Cli, error: &anyhow::Error) {
    let line = format!("natbpf: {error:#}");
    if cli.command.is_daemon() {
        // It ends, whether somebody reads why or not, so that its supervisor starts it again.
        logging::say(line);
    } else {
        logging::drain();
        let _ = output::complain(line);
    }
}

/// How the command is used, if it was asked for, or used otherwise.
fn explain(usage: &clap::Error) -> ExitCode {
    let wrong = usage.use_stderr();
    match usage.print().map_err(OutputError::from) {
        Err(OutputError::Failed(_)) if !wrong => ExitCode::FAILURE,
        // Row O05.
        _ if wrong => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    // Before there are threads: they would stay behind.
    if let Some(name) = &cli.netns
        && let Err(error) = netns::enter(name)
    {
        return commands::outside(cli, error.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::run(cli))
}
