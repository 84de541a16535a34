//! `natbpf trace`

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use natbpf_common::{IfIndex, Nanoseconds, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

use crate::{
    cli::TraceArgs,
    datapath::{Pins, Seen, Traced, Wanted},
    network::{Network, Snapshot},
    output::{self, OutputError},
    preflight,
    trace::{Line, Order, Pcapng, View, filter, json},
};

/// Wrong usage that the command line alone does not show.
const USAGE: u8 = 2;

/// Nothing could be looked at.
const UNSEEN: u8 = 3;

/// Between two looks into the buffer; and how many of them it takes until it is asked for more.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_A_SECOND: u32 = 50;

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
    match Tracing::start(pins, arguments, wanted).await {
        Ok(mut tracing) => match tracing.run().await {
            Err(error) if !output::is_closed(&error) => unseen(&error),
            _ => Ok(ExitCode::SUCCESS),
        },
        Err(error) => unseen(&error),
    }
}

fn unseen(error: &anyhow::Error) -> Result<ExitCode> {
    output::complain(format_args!("natbpf: {error:#}"))?;
    Ok(ExitCode::from(UNSEEN))
}

/// Where packets are shown.
enum Sink {
    Lines,
    Json,
    Pcapng(Pcapng<BufWriter<Box<dyn Write>>>),
}

struct Tracing {
    pins: Pins,
    traced: Traced,
    snapshot: Snapshot,
    booted: SystemTime,
    end: Signal,
    interrupt: Signal,
    order: Order,
    sink: Sink,
    /// Packets still to be shown; `None`: any number.
    left: Option<u64>,
    shown: u64,
}

impl Tracing {
    async fn start(pins: &Pins, arguments: &TraceArgs, mut wanted: Wanted) -> Result<Self> {
        preflight::check_privilege()?;
        let snapshot = Network::open()?.snapshot().await?;
        if let Some(name) = &arguments.filter.edge {
            let link = snapshot.links.iter().find(|link| link.name == *name);
            wanted.interface = link.with_context(|| format!("there is no device {name} here"))?.index;
        }
        // Before anything is attached, so that nothing is if the file cannot be made.
        let sink = match &arguments.write {
            Some(path) => Sink::Pcapng(pcapng(path, wanted.snaplen)?),
            None if arguments.json => Sink::Json,
            None => Sink::Lines,
        };
        let traced = Traced::start(pins, wanted)?;
        let tracing = Self {
            pins: pins.clone(),
            traced,
            snapshot,
            booted: booted()?,
            // Before it says that it looks, and may be asked to end.
            end: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            order: Order::default(),
            sink,
            left: arguments.count,
            shown: 0,
        };
        output::complain("tracing; end it with Ctrl-C")?;
        Ok(tracing)
    }

    async fn run(&mut self) -> Result<()> {
        let mut tick = interval(LOOK);
        let mut looks = 0;
        loop {
            let ended = tokio::select! {
                _ = self.end.recv() => true,
                _ = self.interrupt.recv() => true,
                _ = tick.tick() => false,
            };
            let read = now()?;
            self.order.add(self.traced.read());
            let settled = if ended { self.order.rest() } else { self.order.settled(read) };
            let unknown = |seen: &Seen| self.snapshot.link(seen.sight.interface).is_none();
            if settled.iter().any(unknown) {
                // Devices come and go.
                self.snapshot = Network::open()?.snapshot().await?;
            }
            let full = self.show(settled)?;
            if ended || full {
                return self.finish();
            }
            looks += 1;
            if looks % LOOKS_A_SECOND == 0 {
                self.traced.renew()?;
                if !self.pins.exist() {
                    output::complain("natbpf has been detached meanwhile")?;
                    return self.finish();
                }
            }
        }
    }

    /// Whether it was enough.
    fn show(&mut self, seen: Vec<Seen>) -> Result<bool> {
        for seen in seen {
            if self.left == Some(0) {
                break;
            }
            let is_ethernet =
                |index| self.snapshot.link(index).is_none_or(|link| link.link_layer == libc::ARPHRD_ETHER);
            let view = View::new(seen, self.booted, |index| self.snapshot.name(index), is_ethernet);
            if view.verdict.is_some() {
                self.shown += 1;
                self.left = self.left.map(|left| left - 1);
            }
            self.sink.write(&view)?;
        }
        self.sink.flush()?;
        Ok(self.left == Some(0))
    }

    fn finish(&mut self) -> Result<()> {
        let lost = self.traced.lost()?;
        if let Sink::Pcapng(file) = &mut self.sink {
            file.end(lost).map_err(OutputError::from)?;
        }
        output::complain(format_args!("{} packets shown, {lost} lost", self.shown))?;
        Ok(())
    }
}

impl Sink {
    fn write(&mut self, view: &View) -> Result<()> {
        match self {
            Self::Lines => output::print(Line(view))?,
            Self::Json => output::print(json(view)?)?,
            Self::Pcapng(file) => file.write(view).map_err(OutputError::from)?,
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        match self {
            Self::Pcapng(file) => file.flush().map_err(OutputError::from),
            _ => Ok(()),
        }
    }
}

fn pcapng(path: &Path, snaplen: u32) -> Result<Pcapng<BufWriter<Box<dyn Write>>>> {
    let cannot = || format!("cannot write {}", path.display());
    let out: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).with_context(cannot)?)
    };
    let mut file =
        Pcapng::new(BufWriter::new(out), snaplen).map_err(OutputError::from).with_context(cannot)?;
    file.flush().map_err(OutputError::from).with_context(cannot)?;
    Ok(file)
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
