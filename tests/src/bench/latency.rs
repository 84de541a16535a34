//! Requests and connections, one after the other, and how long each took.
//!
//! Client and server share a processor, as generator and sink do: on two it depends on the scheduler's mood
//! and on how long an idle one takes to wake up, which is more than any translation costs.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;
use crate::traffic::pin_to_one_processor;

/// Where the server listens.
const PORT: u16 = 7007;

/// Bytes of a request and of a response.
const MESSAGE: usize = 64;

/// What comes before is not counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// An end that hears nothing for so long gives up.
const LIMIT: Duration = Duration::from_secs(5);

/// Where client and server are.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    pub client: &'a Namespace,
    pub server: &'a Namespace,
    /// The server's.
    pub address: IpAddr,
}

/// How long each took, sorted.
#[derive(Clone, Debug)]
pub struct Latencies {
    sorted: Vec<Duration>,
    took: Duration,
}

impl Latencies {
    fn new(mut each: Vec<Duration>, took: Duration) -> Result<Self> {
        ensure!(!each.is_empty(), "not one was finished in {took:?}");
        each.sort_unstable();
        Ok(Self { sorted: each, took })
    }

    /// How many a second.
    pub fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.took.as_secs_f64()
    }

    /// In microseconds: no more than this took `share` of them (nearest rank).
    pub fn percentile(&self, share: f64) -> f64 {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        let place = rank.clamp(1, self.sorted.len()) - 1;
        self.sorted[place].as_secs_f64() * 1e6
    }
}

/// Requests on one connection.
pub fn requests(ends: &Ends<'_>, seconds: u32) -> Result<Latencies> {
    with_server(ends, || {
        let mut stream = connect(ends)?;
        repeat(seconds, || exchange(&mut stream))
    })
}

/// Connections, each for one request; the server ends it.
pub fn connections(ends: &Ends<'_>, seconds: u32) -> Result<Latencies> {
    with_server(ends, || {
        repeat(seconds, || {
            let mut stream = connect(ends)?;
            // Says that it is the only one.
            stream.write_all(&[1; MESSAGE])?;
            let mut response = Vec::with_capacity(MESSAGE);
            stream.read_to_end(&mut response)?;
            ensure!(response.len() == MESSAGE, "a response of {} bytes", response.len());
            Ok(())
        })
    })
}

fn repeat(seconds: u32, mut once: impl FnMut() -> Result<()>) -> Result<Latencies> {
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        once()?;
    }
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut each = Vec::new();
    let mut before = start;
    while before - start < limit {
        once()?;
        let now = Instant::now();
        each.push(now - before);
        before = now;
    }
    Latencies::new(each, before - start)
}

fn connect(ends: &Ends<'_>) -> Result<TcpStream> {
    let stream = TcpStream::connect((ends.address, PORT)).context("cannot connect to the server outside")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> Result<()> {
    let mut message = [0; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message).context("no response")
}

/// Runs a client while a server answers.
fn with_server<T: Send>(ends: &Ends<'_>, client: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let listener = ends.server.tcp_listener((ends.address, PORT))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| pin_to_one_processor().and_then(|()| serve(&listener, &stop)));
        let outcome = ends.client.enter(|| pin_to_one_processor().and_then(|()| client())).flatten();
        stop.store(true, Ordering::Relaxed);
        // Wakes the server, from beside it: the way through the gateway may be what does not work.
        let woken = ends.server.tcp_connect((ends.address, PORT)).map(drop);
        let served = server.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let value = outcome?;
        woken?;
        served?;
        Ok(value)
    })
}

/// Answers one connection at a time.
fn serve(listener: &TcpListener, stop: &AtomicBool) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
            if message[0] != 0 {
                // A client that has gone is no concern of the server's.
                let _ = stream.shutdown(Shutdown::Write);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn percentiles_are_of_the_nearest_rank() -> Result<()> {
        let each = (1..=1000).rev().map(Duration::from_micros).collect();
        let latencies = Latencies::new(each, Duration::from_secs(2))?;
        assert_eq!(latencies.rate(), 500.0);
        let percentiles = [0.5, 0.99, 0.999, 1.0].map(|share| latencies.percentile(share).round());
        assert_eq!(percentiles, [500.0, 990.0, 999.0, 1000.0]);
        let one = Latencies::new(vec![Duration::from_micros(7)], Duration::from_secs(1))?;
        assert_eq!(one.percentile(0.5).round(), 7.0);
        assert!(Latencies::new(vec![], Duration::ZERO).is_err());
        Ok(())
    }
}
