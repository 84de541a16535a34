//! `natbpf paths`

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

use crate::{
    cli::{PathsAction, PathsArgs},
    clock,
    datapath::{Pins, Tables},
    network::{Network, Snapshot},
    output::{self, OutputError},
    paths::{self, Line, PathFilter, Shown},
};

/// Between two looks of one who watches.
const LOOK: Duration = Duration::from_secs(1);

pub async fn run(pins: &Pins, arguments: &PathsArgs) -> Result<ExitCode> {
    let tables = Tables::open(pins)?;
    let snapshot = Network::open()?.snapshot().await?;
    let filter = PathFilter::from(arguments);
    match arguments.action {
        PathsAction::List => {
            let paths = look(&tables, &snapshot, &filter)?;
            finish(write(paths.iter().map(|path| ("", path)), arguments.json))
        }
        PathsAction::Count => {
            let count = look(&tables, &snapshot, &filter)?.len();
            if arguments.json {
                output::print(serde_json::json!({ "count": count }))?;
            } else {
                output::print(count)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PathsAction::Watch => watch(&tables, &filter, arguments.json).await,
        PathsAction::Flush => flush(&tables, &snapshot, &filter, arguments.json),
    }
}

fn look(tables: &Tables, snapshot: &Snapshot, filter: &PathFilter) -> Result<Vec<Shown>> {
    let mut found = Vec::new();
    paths::each(
        tables,
        clock::now(),
        |interface| snapshot.name(interface),
        |path, _| {
            if filter.matches(&path) {
                found.push(path);
            }
        },
    )?;
    Ok(found)
}

fn flush(tables: &Tables, snapshot: &Snapshot, filter: &PathFilter, json: bool) -> Result<ExitCode> {
    let mut ended = 0u64;
    paths::each(
        tables,
        clock::now(),
        |interface| snapshot.name(interface),
        |path, end| {
            if filter.matches(&path) {
                end();
                ended += 1;
            }
        },
    )?;
    if json {
        output::print(serde_json::json!({ "ended": ended }))?;
    } else {
        output::print(format_args!("{ended} paths have been ended"))?;
    }
    Ok(if ended == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write<'a>(paths: impl Iterator<Item = (&'a str, &'a Shown)>, json: bool) -> Result<(), OutputError> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (event, path) in paths {
        if json {
            let mut object = serde_json::to_value(path).map_err(io::Error::from)?;
            if !event.is_empty() {
                object["event"] = event.into();
            }
            writeln!(out, "{object}")?;
        } else if event.is_empty() {
            writeln!(out, "{}", Line(path))?;
        } else {
            writeln!(out, "[{event}] {}", Line(path))?;
        }
    }
    out.flush()?;
    Ok(())
}

/// A reader of our output may stop reading.
fn finish(result: Result<(), OutputError>) -> Result<ExitCode> {
    match result {
        Ok(()) | Err(OutputError::Closed) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

async fn watch(tables: &Tables, filter: &PathFilter, json: bool) -> Result<ExitCode> {
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut tick = interval(LOOK);
    let mut known: BTreeMap<String, Shown> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = tick.tick() => {}
        }
        // Interfaces come and go meanwhile.
        let snapshot = Network::open()?.snapshot().await?;
        let paths = look(tables, &snapshot, filter)?;
        let now: BTreeMap<_, _> = paths
            .into_iter()
            .map(|path| (format!("{} {:?}", path.protocol_number, path.comes), path))
            .collect();
        let news = now.iter().filter_map(|(key, path)| match known.get(key) {
            None => Some(("new", path)),
            Some(before) if (&before.leaves, before.hops) != (&path.leaves, path.hops) => {
                Some(("changed", path))
            }
            Some(_) => None,
        });
        let gone = known.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, path)| ("gone", path));
        match write(news.chain(gone), json) {
            Ok(()) => {}
            Err(OutputError::Closed) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        }
        known = now;
    }
}
