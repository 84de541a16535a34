//! `natbpf top`

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use anyhow::Result;

use super::exit::{UNSEEN, USAGE};
use crate::{
    cli::{Cli, TopArgs},
    datapath::Pins,
    netns, output,
    top::{Place, Reader, Text, Wanted, once, screen},
};

pub async fn run(cli: &Cli, pins: Pins, arguments: &TopArgs) -> Result<ExitCode> {
    let TopArgs { interval, sort, .. } = *arguments;
    let has_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !has_screen && !arguments.once {
        output::complain(
            "natbpf: this is no terminal; use `natbpf top --once`, or --once --json for programs",
        )?;
        return Ok(ExitCode::from(USAGE));
    }
    let place = Place { instance: cli.instance_name(), netns: netns::label() };
    let mut reader = Reader::new(pins, Wanted::from(arguments))?;
    if arguments.once {
        return match once(&mut reader, &place, interval, sort).await {
            Ok(report) if arguments.json => print(serde_json::to_string_pretty(&report)?),
            Ok(report) => print(Text { report: &report, sort }.to_string()),
            Err(error) => unseen(&error),
        };
    }
    // Before the screen is taken.
    if let Err(error) = reader.read(sort).await {
        return unseen(&error);
    }
    screen(reader, place, interval, sort).await?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: String) -> Result<ExitCode> {
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn unseen(error: &anyhow::Error) -> Result<ExitCode> {
    output::complain(format_args!("natbpf: {error:#}"))?;
    Ok(ExitCode::from(UNSEEN))
}
