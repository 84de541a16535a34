//! Logs, to standard error.

use std::{
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd,
    sync::Mutex,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::cli::LogFormat;

/// A pipe that is ready takes so many bytes without waiting (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

/// So long a reader that is behind is waited for. Traffic does not need the log.
const PATIENCE: u16 = 50;

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
        .with_writer(Log::new(io::stderr()))
        // What cannot be written can hardly be complained of in the same place.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// Writes lines, and loses those that nobody takes: no reader, a full disk or a reader that has stopped is no reason to stop working.
#[derive(Debug)]
struct Log<W>(Mutex<Lossy<W>>);

#[derive(Debug)]
struct Lossy<W> {
    to: W,
    /// The last line was not taken in time: the next one does not wait.
    behind: bool,
}

impl<W> Log<W> {
    const fn new(to: W) -> Self {
        Self(Mutex::new(Lossy { to, behind: false }))
    }
}

/// One line at a time is written.
struct Turn<'a, W>(&'a Mutex<Lossy<W>>);

impl<'a, W: Write + AsFd + 'a> MakeWriter<'a> for Log<W> {
    type Writer = Turn<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Turn(&self.0)
    }
}

impl<W: Write + AsFd> Write for Turn<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Ok(mut lossy) = self.0.lock() {
            lossy.write(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + AsFd> Lossy<W> {
    fn write(&mut self, line: &[u8]) {
        for piece in line.chunks(PIECE) {
            let patience = if self.behind { 0 } else { PATIENCE };
            self.behind = !is_ready(&self.to, patience);
            if self.behind || self.to.write_all(piece).is_err() {
                return;
            }
        }
    }
}

/// Whether writing does not wait. What fails at once is ready, too.
fn is_ready(to: &impl AsFd, milliseconds: u16) -> bool {
    let mut places = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut places, PollTimeout::from(milliseconds)) {
        Ok(ready) => ready > 0,
        Err(errno) => errno != Errno::EINTR,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, time::Instant};

    use super::*;

    fn write<W: Write + AsFd>(log: &Log<W>, line: &str) {
        log.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_log_that_nobody_reads_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        write(&Log::new(writer), "a line\n");
        write(&Log::new(File::options().write(true).open("/dev/full").unwrap()), "a line\n");
    }

    #[test]
    fn a_reader_that_has_stopped_is_not_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = Log::new(writer);
        let start = Instant::now();
        let line = format!("{}\n", "x".repeat(99));
        (0..2000).for_each(|_| write(&log, &line));
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        let mut read = vec![0; 1 << 16];
        assert!(reader.read(&mut read).unwrap() > 4096);
        write(&log, "after\n");
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("after\n"), "it goes on when it is read again");
    }
}
