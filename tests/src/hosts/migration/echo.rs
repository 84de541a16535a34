//! A TCP stream to a guest that sends back what it gets, and for how long nothing came back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::ends::pattern::{Check, Source};
use crate::netns::Namespace;

/// The guest's port.
pub const PORT: u16 = 7;
/// What the guest runs for it.
pub const SERVER: &str = "setsid nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &";

/// Sent at once, and the time until more is sent: a megabyte a second.
const CHUNK: u64 = 10_000;
const BEAT: Duration = Duration::from_millis(10);

/// Without anything for so long the stream has ended.
const DEAD: Duration = Duration::from_secs(20);

/// A running one.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<Echoed>>,
}

/// What has come back.
#[derive(Clone, Copy, Debug)]
pub struct Echoed {
    pub bytes: u64,
    /// The longest time without any.
    pub silence: Duration,
}

impl Echo {
    pub fn start(from: &Namespace, guest: Ipv4Addr) -> Result<Self> {
        let mut stream = from.tcp_connect((guest, PORT)).context("the guest's echo")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEAD))?;
        let stop = Arc::new(AtomicBool::new(false));
        let receiver = thread::spawn({
            let stream = stream.try_clone()?;
            move || receive(stream)
        });
        let sender = thread::spawn({
            let stop = stop.clone();
            move || send(&mut stream, &stop)
        });
        Ok(Self { stop, sender, receiver })
    }

    /// Ends it; every byte has to have come back as it was sent.
    pub fn finish(self) -> Result<Echoed> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        let echoed = self.receiver.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        let (sent, echoed) = (sent.context("sending to the guest")?, echoed.context("what came back")?);
        ensure!(echoed.bytes == sent, "{} of {sent} bytes came back", echoed.bytes);
        Ok(echoed)
    }
}

fn send(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<u64> {
    let mut source = Source::new(u64::MAX);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += io::copy(&mut source.by_ref().take(CHUNK), stream)?;
        thread::sleep(BEAT);
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn receive(mut stream: TcpStream) -> io::Result<Echoed> {
    let mut check = Check::default();
    let mut buffer = [0; 1 << 16];
    let mut echoed = Echoed { bytes: 0, silence: Duration::ZERO };
    let mut last = Instant::now();
    loop {
        let length = stream.read(&mut buffer)?;
        echoed.silence = echoed.silence.max(last.elapsed());
        last = Instant::now();
        if length == 0 {
            return Ok(echoed);
        }
        check.write_all(&buffer[..length])?;
        echoed.bytes += length as u64;
    }
}
