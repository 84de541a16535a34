//! A TCP connection that is never quiet: bytes go to the server and come back, and each is compared at both ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::pattern::{Check, Source};
use lab::{Lab, SERVER, wait_until};

const PORT: u16 = 7000;
const PIECE: usize = 16 << 10;

/// Between vm1 and the outside.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    returned: Arc<AtomicU64>,
    server: JoinHandle<io::Result<u64>>,
    writer: JoinHandle<io::Result<u64>>,
    reader: JoinHandle<io::Result<()>>,
}

impl Echo {
    pub fn start(lab: &Lab) -> Result<Self> {
        let listener = lab.out.tcp_listener((SERVER, PORT))?;
        let client = lab.vm1.tcp_connect((SERVER, PORT))?;
        let server = thread::spawn(move || echo(listener.accept()?.0));
        let (stop, returned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = thread::spawn({
            let (client, returned) = (client.try_clone()?, returned.clone());
            move || compare(client, &returned)
        });
        let writer = thread::spawn({
            let stop = stop.clone();
            move || write(client, &stop)
        });
        Ok(Self { stop, returned, server, writer, reader })
    }

    /// Waits until bytes come back that were sent after this call.
    pub fn goes_on(&self) -> Result<()> {
        let before = self.returned.load(Ordering::Relaxed);
        // More than can be under way.
        let goal = before + (8 << 20);
        wait_until("bytes go to and fro", Duration::from_secs(10), || {
            Ok(self.returned.load(Ordering::Relaxed) > goal)
        })
    }

    /// Ends it in order; returns how many bytes went each way.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| io::Error::other("panicked");
        let sent = self.writer.join().unwrap_or_else(|cause| Err(panicked(cause))).context("sending")?;
        let echoed = self.server.join().unwrap_or_else(|cause| Err(panicked(cause))).context("the server")?;
        self.reader.join().unwrap_or_else(|cause| Err(panicked(cause))).context("receiving")?;
        let returned = self.returned.load(Ordering::Relaxed);
        ensure!(
            sent == echoed && sent == returned,
            "{sent} bytes sent, {echoed} echoed, {returned} returned"
        );
        Ok(sent)
    }
}

fn write(mut to: TcpStream, stop: &AtomicBool) -> io::Result<u64> {
    let mut source = Source::new(u64::MAX);
    let mut piece = [0; PIECE];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = source.read(&mut piece)?;
        to.write_all(&piece[..count])?;
        sent += count as u64;
    }
    to.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut check = Check::default();
    let mut piece = [0; PIECE];
    let mut echoed = 0;
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            stream.shutdown(Shutdown::Write)?;
            return Ok(echoed);
        }
        check.write_all(&piece[..count])?;
        stream.write_all(&piece[..count])?;
        echoed += count as u64;
    }
}

fn compare(mut from: TcpStream, returned: &AtomicU64) -> io::Result<()> {
    let mut check = Check::default();
    let mut piece = [0; PIECE];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        check.write_all(&piece[..count])?;
        returned.fetch_add(count as u64, Ordering::Relaxed);
    }
}
