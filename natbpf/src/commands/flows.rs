//! `natbpf flows`

use std::{
    fmt,
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use natbpf_common::{
    Nanoseconds, Timestamp,
    contract::{
        event::{EventKind, FlowEvent},
        reap::Seen,
    },
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status, life::Life, timeouts::Timeouts},
};
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

use crate::{
    cli::{FlowsAction, FlowsArgs, FlowsOutput},
    clock,
    datapath::{Events, Pins, Reaper, Tables},
    flows::{Event, EventJson, Filter, Flow, FlowJson},
    network::{Network, Snapshot},
    output::{self, OutputError},
};

/// The datapath writes events for so long after the watcher last said that it is there.
const WATCH: Nanoseconds = Nanoseconds::seconds(3);

/// How often the watcher says so.
const WATCH_RENEWAL: Duration = Duration::from_secs(1);

pub async fn run(pins: &Pins, arguments: &FlowsArgs) -> Result<ExitCode> {
    let tables = Tables::open(pins)?;
    let filter = Filter::from(&arguments.filter);
    match arguments.action {
        FlowsAction::List => list(&tables, &filter, Form::of(arguments)).await,
        FlowsAction::Count => count(&tables, &filter, arguments.json),
        FlowsAction::Watch => watch(pins, tables, &filter, Form::of(arguments)).await,
        FlowsAction::Flush => flush(pins, &tables, &filter, arguments.json),
    }
}

/// How flows are printed.
#[derive(Clone, Copy)]
enum Form {
    Line,
    Extended,
    Json,
}

impl Form {
    const fn of(arguments: &FlowsArgs) -> Self {
        match (arguments.json, arguments.output) {
            (true, _) => Self::Json,
            (_, Some(FlowsOutput::Extended)) => Self::Extended,
            _ => Self::Line,
        }
    }
}

/// Calls back for every flow that lives and matches.
fn each(tables: &Tables, filter: &Filter, mut each: impl FnMut(&Flow, &FlowEntry)) -> Result<()> {
    let (now, timeouts) = (clock::now(), tables.settings()?.timeouts);
    tables.each_entry(|key, entry| {
        if let Some(flow) = flow(key, entry, now, &timeouts)
            && filter.matches(&flow)
        {
            each(&flow, entry);
        }
    })
}

/// The flow of an entry of the original direction, if it lives.
fn flow(key: &FlowKey, entry: &FlowEntry, now: Timestamp, timeouts: &Timeouts) -> Option<Flow> {
    let idle = Life::age(entry.life, now)?;
    let status = Status::from_word(entry.status);
    let timeout = timeouts.of(status);
    (key.direction() == Direction::Original && !Life::expired(idle, timeout)).then(|| Flow {
        key: *key,
        rewrite: entry.rewrite(),
        status,
        remaining: timeout.saturating_sub(idle).into(),
        age: entry.created.age(now).into(),
        uplink: entry.uplink,
    })
}

async fn list(tables: &Tables, filter: &Filter, form: Form) -> Result<ExitCode> {
    let snapshot = Network::open()?.snapshot().await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut result = Ok(());
    each(tables, filter, |flow, _| {
        if result.is_ok() {
            result = print(&mut out, form, flow, || FlowJson::new(flow, snapshot.name(flow.uplink)));
        }
    })?;
    finish(result.and_then(|()| out.flush().map_err(Into::into)))
}

/// Prints a flow or an event, as a line.
fn print<J: Serialize>(
    out: &mut impl Write,
    form: Form,
    what: &impl fmt::Display,
    json: impl FnOnce() -> J,
) -> Result<(), OutputError> {
    match form {
        Form::Line => writeln!(out, "{what}")?,
        Form::Extended => writeln!(out, "{what:#}")?,
        Form::Json => {
            serde_json::to_writer(&mut *out, &json()).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A reader of our output may stop reading: `natbpf flows list | head` is no failure.
fn finish(result: Result<(), OutputError>) -> Result<ExitCode> {
    match result {
        Ok(()) | Err(OutputError::Closed) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

fn count(tables: &Tables, filter: &Filter, json: bool) -> Result<ExitCode> {
    let mut count = 0u64;
    each(tables, filter, |_, _| count += 1)?;
    if json {
        output::print(serde_json::json!({ "count": count, "max": tables.max_entries()? / 2 }))?;
    } else {
        output::print(count)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn flush(pins: &Pins, tables: &Tables, filter: &Filter, json: bool) -> Result<ExitCode> {
    let mut flows = Vec::new();
    each(tables, filter, |flow, entry| flows.push(Seen::new(flow.key, entry)))?;
    let ended = Reaper::open(pins)?.kill(&flows)?;
    let printed = match json {
        true => output::print(serde_json::json!({ "ended": ended })),
        false => output::print(format_args!("{ended} flows have been ended")),
    };
    match printed {
        // The exit status says it, too.
        Ok(()) | Err(OutputError::Closed) => {}
        Err(error) => return Err(error.into()),
    }
    // Row O05.
    Ok(if ended == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn watch(pins: &Pins, mut tables: Tables, filter: &Filter, form: Form) -> Result<ExitCode> {
    let snapshot = Network::open()?.snapshot().await?;
    let mut events = Events::open(pins)?;
    let mut renewal = interval(WATCH_RENEWAL);
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = renewal.tick() => tables.watch_until(clock::now() + WATCH)?,
            batch = events.next() => {
                let timeouts = tables.settings()?.timeouts;
                match show(&batch?, filter, form, &timeouts, &snapshot) {
                    Err(error) if output::is_closed(&error) => break,
                    shown => shown?,
                }
            }
        }
    }
    tables.watch_until(Timestamp::default())?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    events: &[FlowEvent],
    filter: &Filter,
    form: Form,
    timeouts: &Timeouts,
    snapshot: &Snapshot,
) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for event in events {
        let kind =
            EventKind::from_number(event.kind).context("the datapath wrote an event of an unknown kind")?;
        let status = Status::from_word(event.status);
        let flow = Flow {
            key: event.key,
            rewrite: Rewrite::from_word(event.rewrite),
            status,
            // Conntrack shows no time for a flow that is gone, as it has none left.
            remaining: match kind {
                EventKind::Destroy => Duration::ZERO,
                _ => timeouts.of(status).into(),
            },
            age: Duration::ZERO,
            uplink: event.uplink,
        };
        if !filter.matches(&flow) {
            continue;
        }
        let event = Event { kind, flow };
        print(&mut out, form, &event, || EventJson::new(&event, snapshot.name(flow.uplink)))?;
    }
    out.flush().map_err(OutputError::from)?;
    Ok(())
}
