//! Many frames in a short time.

use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, ptr};

use anyhow::{Context, Result, anyhow};

use super::Wire;
use crate::process::interrupt;

/// Handed to the kernel at a time.
const BATCH: usize = 64;

/// No flood lasts longer than this, even if a test forgets to end it.
const LIMIT: Duration = Duration::from_secs(20);

impl Wire {
    /// Sends these frames, Ethernet headers included, as fast as the kernel takes them. Returns how many there were.
    pub fn send_all(&self, frames: impl IntoIterator<Item = Vec<u8>>) -> Result<u64> {
        let (mut frames, mut sent) = (frames.into_iter(), 0);
        loop {
            let batch: Vec<_> = frames.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(sent);
            }
            interrupt::check()?;
            self.send_batch(&batch)?;
            sent += batch.len() as u64;
        }
    }

    fn send_batch(&self, frames: &[Vec<u8>]) -> Result<()> {
        let mut parts: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let message = |part: &mut libc::iovec| {
            // SAFETY: all zeroes is a valid mmsghdr: no address, no control data.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (ptr::from_mut(part), 1);
            message
        };
        let mut messages: Vec<_> = parts.iter_mut().map(message).collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // SAFETY: each message is one part, which is a frame that outlives the call and is only read.
            let sent = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => rest = &mut rest[sent..],
                Err(_) => match io::Error::last_os_error() {
                    // A queue is full: it will be emptied.
                    error if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        thread::sleep(Duration::from_micros(50));
                    }
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error).with_context(|| format!("cannot send at {}", self.name)),
                },
            }
        }
        Ok(())
    }
}

/// Frames that keep coming, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Result<u64>>>,
}

impl Flood {
    /// Sends `frame(0)`, `frame(1)` and so on, so many a second at most.
    pub fn start(
        wire: Wire,
        per_second: u32,
        frame: impl Fn(&Wire, u64) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let stop = stop.clone();
            move || flood(&wire, per_second, frame, &stop)
        });
        Self { stop, sender: Some(sender) }
    }

    /// Ends it and returns how many frames were sent.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let sender = self.sender.take().context("the flood has ended before")?;
        sender.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

fn flood(
    wire: &Wire,
    per_second: u32,
    frame: impl Fn(&Wire, u64) -> Vec<u8>,
    stop: &AtomicBool,
) -> Result<u64> {
    let (start, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) && start.elapsed() < LIMIT {
        let due = (start.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
        // What a busy machine kept it from sending is not made up for at a stroke.
        let until = due.min(sent + 10 * BATCH as u64);
        sent += wire.send_all((sent..until).map(|number| frame(wire, number)))?;
        if sent == due {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(sent)
}
