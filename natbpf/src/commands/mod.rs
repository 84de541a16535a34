//! The commands, each in a module of its own.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    cli::{CheckArgs, Cli, Command},
    config::Config,
    daemon::{self, Options, Source},
    datapath::Pins,
    output,
};

mod detach;
mod doctor;
mod exit;
mod flows;
mod import;
mod paths;
mod status;
mod top;
mod trace;
mod why;

/// Runs a command; errors are the caller's to print.
pub async fn run(cli: &Cli) -> Result<ExitCode> {
    let pins = Pins::new(&cli.bpffs, &cli.instance_name());
    match &cli.command {
        Command::Run(arguments) => {
            let source = Source::File(arguments.file.config.clone(), arguments.daemon.datapath.clone());
            start(cli, pins, source, arguments.daemon.stay).await
        }
        Command::Masquerade(arguments) => {
            let source = Source::Arguments(Box::new(Config::from_masquerade(arguments)?));
            start(cli, pins, source, arguments.daemon.stay).await
        }
        Command::Accelerate(arguments) => {
            let source = Source::Arguments(Box::new(Config::from_accelerate(arguments)?));
            start(cli, pins, source, arguments.daemon.stay).await
        }
        Command::Check(arguments) => check(arguments),
        Command::Status(arguments) => status::run(cli, &pins, *arguments).await,
        Command::Flows(arguments) => flows::run(&pins, arguments).await,
        Command::Paths(arguments) => paths::run(&pins, arguments).await,
        Command::Top(arguments) => top::run(cli, pins, arguments).await,
        Command::Trace(arguments) => trace::run(&pins, arguments).await,
        Command::Import(arguments) => import::run(arguments),
        Command::Doctor(arguments) => doctor::run(cli, *arguments),
        Command::Why(arguments) => why::run(cli, arguments),
        Command::Detach => detach::run(cli, pins).await,
    }
}

/// What becomes of a command whose network namespace cannot be entered: those that look say by their status that they
/// could not.
pub fn outside(cli: &Cli, error: anyhow::Error) -> Result<ExitCode> {
    match &cli.command {
        Command::Doctor(arguments) => doctor::outside(*arguments, &error),
        Command::Top(_) | Command::Trace(_) | Command::Why(_) => {
            output::complain(format_args!("natbpf: {error:#}"))?;
            Ok(ExitCode::from(exit::UNSEEN))
        }
        _ => Err(error),
    }
}

async fn start(cli: &Cli, pins: Pins, source: Source, stay: bool) -> Result<ExitCode> {
    let options = Options { pins, bpffs: cli.bpffs.clone(), instance: cli.instance_name(), source, stay };
    daemon::run(options).await?;
    Ok(ExitCode::SUCCESS)
}

fn check(arguments: &CheckArgs) -> Result<ExitCode> {
    let path = &arguments.file.config;
    let config = Config::from_file(path)?;
    let counted = [
        ("rules", config.rules.len()),
        ("forwards", config.forwards.len()),
        ("floating addresses", config.floating.len()),
    ];
    let parts = counted.into_iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts.map(|(what, count)| format!("{count} {what}")).collect();
    output::print(format_args!("{} is right: {}", path.display(), parts.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}
