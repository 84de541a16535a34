//! `natbpf trace`

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use natbpf_common::{IfIndex, Nanoseconds, Timestamp};
use nix::{
    net::if_::if_nametoindex,
    time::{ClockId, clock_gettime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::exit::{UNSEEN, USAGE};
use crate::{
    cli::TraceArgs,
    datapath::{Look, Pins, Seen, Traced, Wanted},
    network::{Network, Snapshot},
    output::{self, OutputError},
    preflight,
    trace::{Form, Order, Sink, View, Writer, filter},
};

/// Between two looks into the buffer, unless there is more.
const LOOK: Duration = Duration::from_millis(20);

/// Until it is asked for more.
const RENEWAL: Duration = Duration::from_millis(500);

/// So long is waited for an output that takes nothing any more.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(pins: &Pins, arguments: &TraceArgs) -> Result<ExitCode> {
    let filter = match filter(&arguments.filter) {
        Ok(filter) => filter,
        Err(mixed) => {
            output::complain(format_args!("natbpf: {mixed}"))?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    let wanted =
        Wanted { filter, interface: IfIndex::NONE, sample: arguments.sample, snaplen: arguments.snaplen };
    let traced = match Tracing::start(pins, arguments, wanted).await {
        Ok(tracing) => tracing.run().await,
        Err(error) => Err(error),
    };
    match traced {
        Err(error) if !output::is_closed(&error) => {
            output::complain(format_args!("natbpf: {error:#}"))?;
            Ok(ExitCode::from(UNSEEN))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

struct Tracing {
    traced: Traced,
    /// The device that is asked for.
    edge: Option<(String, IfIndex)>,
    snapshot: Snapshot,
    booted: SystemTime,
    end: Signal,
    interrupt: Signal,
    order: Order,
    writer: Writer,
    /// Packets still to be shown; `None`: any number.
    left: Option<u64>,
    shown: u64,
}

impl Tracing {
    async fn start(pins: &Pins, arguments: &TraceArgs, mut wanted: Wanted) -> Result<Self> {
        preflight::check_privilege()?;
        let snapshot = Network::open()?.snapshot().await?;
        let edge = match &arguments.filter.edge {
            None => None,
            Some(name) => {
                let link = snapshot.links.iter().find(|link| link.name == *name);
                wanted.interface = link.with_context(|| format!("there is no device {name} here"))?.index;
                Some((name.clone(), wanted.interface))
            }
        };
        let (form, name) = match &arguments.write {
            Some(path) => {
                let form = Form::Pcapng { path: path.clone(), snaplen: wanted.snaplen };
                (form, path.display().to_string())
            }
            None => (if arguments.json { Form::Json } else { Form::Lines }, "standard output".to_owned()),
        };
        // First, since the file of a trace that runs is not to be touched by one that does not begin.
        let traced = Traced::start(pins, wanted)?;
        let open = || Writer::start(Sink::open(form)?);
        let writer = open().map_err(OutputError::from).with_context(|| format!("cannot write {name}"))?;
        let tracing = Self {
            traced,
            edge,
            snapshot,
            booted: booted()?,
            // Before it says that it looks, and may be asked to end.
            end: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            order: Order::default(),
            writer,
            left: arguments.count,
            shown: 0,
        };
        output::complain("tracing; end it with Ctrl-C")?;
        Ok(tracing)
    }

    async fn run(mut self) -> Result<()> {
        let (mut renewed, mut wait) = (Instant::now(), LOOK);
        loop {
            let ended = tokio::select! {
                biased;
                () = self.signal() => true,
                () = sleep(wait) => false,
            };
            let read = now()?;
            let Look { seen, is_cut } = self.traced.look();
            // Where there is more, it is later than this.
            let read = if is_cut { seen.last().map_or(read, |seen| seen.sight.time) } else { read };
            self.order.add(seen);
            wait = if is_cut { Duration::ZERO } else { LOOK };
            let settled = if ended { self.order.rest() } else { self.order.settled(read) };
            let full = self.show(settled).await?;
            if ended || full || self.writer.has_ended() {
                return self.finish().await;
            }
            if renewed.elapsed() >= RENEWAL {
                if !self.goes_on()? {
                    return self.finish().await;
                }
                renewed = Instant::now();
            }
        }
    }

    /// Somebody wants it to end.
    async fn signal(&mut self) {
        tokio::select! {
            _ = self.end.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Has the datapath go on. False: there is nothing to see any more.
    fn goes_on(&mut self) -> Result<bool> {
        if !self.traced.is_attached() {
            output::complain("natbpf has been detached meanwhile")?;
            return Ok(false);
        }
        if let Some((name, index)) = &self.edge
            && if_nametoindex(name.as_str()).ok() != Some(index.number())
        {
            output::complain(format_args!("the device {name} has gone"))?;
            return Ok(false);
        }
        let stopped = Duration::from_nanos(self.traced.renew()?.number());
        if !stopped.is_zero() {
            output::complain(format_args!(
                "no packet was looked at for about {} ms, as this program stood still",
                stopped.as_millis()
            ))?;
        }
        Ok(true)
    }

    /// Whether it was enough.
    async fn show(&mut self, seen: Vec<Seen>) -> Result<bool> {
        let unknown = |seen: &Seen| self.snapshot.link(seen.sight.interface).is_none();
        if seen.iter().any(unknown) {
            // Devices come and go.
            self.snapshot = Network::open()?.snapshot().await?;
        }
        let is_ethernet =
            |index| self.snapshot.link(index).is_none_or(|link| link.link_layer == libc::ARPHRD_ETHER);
        let mut views = Vec::with_capacity(seen.len());
        for seen in seen {
            if self.left == Some(0) {
                break;
            }
            let view = View::new(seen, self.booted, |index| self.snapshot.name(index), is_ethernet);
            if view.verdict.is_some() {
                self.shown += 1;
                self.left = self.left.map(|left| left - 1);
            }
            views.push(view);
        }
        if !views.is_empty() {
            self.writer.write(views);
        }
        Ok(self.left == Some(0))
    }

    /// Waits until all is written, and says how much that was.
    async fn finish(mut self) -> Result<()> {
        let lost = self.traced.lost()?;
        self.writer.end(lost);
        let start = Instant::now();
        while !self.writer.has_ended() {
            let given_up = tokio::select! {
                () = self.signal() => true,
                () = sleep(LOOK) => start.elapsed() > PATIENCE,
            };
            ensure!(!given_up, "the output takes nothing any more, and the last packets are not written");
        }
        let unwritten = self.writer.unwritten();
        self.writer.outcome().map_err(OutputError::from)?;
        let lost = lost.iter().sum::<u64>() + unwritten;
        output::complain(format_args!("{} packets shown; {lost} sights of packets lost", self.shown))?;
        Ok(())
    }
}

/// The datapath's clock, exactly.
fn now() -> Result<Timestamp> {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(Timestamp::default() + Nanoseconds::new(time.as_nanos() as u64))
}

/// When the datapath's clock began.
fn booted() -> Result<SystemTime> {
    Ok(SystemTime::now() - Duration::from_nanos(now()?.number()))
}
