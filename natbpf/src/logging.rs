//! Logs, to standard error. Traffic does not need them: lines that nobody takes are lost.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use crate::{cli::LogFormat, output::Queue};

/// So long a reader may take for what was said last.
const PATIENCE: Duration = Duration::from_millis(200);

/// Not before the first line: a thread would stay behind in the network namespace that the program was started in.
static QUEUE: OnceLock<Option<Queue>> = OnceLock::new();

/// Starts logging. `RUST_LOG` wins over the number of `-v`.
pub fn start(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("natbpf={level},datapath={level},warn")));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        // What cannot be written can hardly be complained of in the same place.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// Waits a moment for what was logged to be written.
pub fn drain() {
    if let Some(Some(queue)) = QUEUE.get() {
        queue.drain(PATIENCE);
    }
}

/// Says a line beside the log, in the same way.
pub fn say(line: impl fmt::Display) {
    Log::push(format!("{line}\n").as_bytes());
}

/// Takes whole lines.
struct Log;

impl Log {
    fn push(line: &[u8]) {
        // Where no thread can be had, nothing of this can be said.
        if let Some(queue) = QUEUE.get_or_init(|| Queue::start(io::stderr()).ok()) {
            queue.push(line);
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Self::push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
