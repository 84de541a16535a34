//! What a running program writes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::interrupt;

/// What a pipe holds at most, unless somebody enlarges it.
const PIPE: u64 = 64 << 10;

/// A stream, collected by a thread.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Debug, Default)]
struct Text {
    /// Does not block; none once the stream has ended.
    pipe: Option<Arc<File>>,
    bytes: Vec<u8>,
}

impl Text {
    /// Takes what has been written so far.
    fn take(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        // Not more at once, or who looks for a line in what never ends would not get to see any.
        match pipe.as_ref().take(PIPE).read_to_end(&mut self.bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) if count as u64 == PIPE => {}
            _ => self.pipe = None,
        }
    }
}

impl Lines {
    pub(crate) fn none() -> Self {
        Self { shared: Arc::default() }
    }

    pub(crate) fn read(pipe: impl Into<OwnedFd>) -> Result<Self> {
        let pipe = Arc::new(File::from(pipe.into()));
        // This end alone does not block; the program's own end blocks as ever.
        fcntl(&*pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot read what a program writes")?;
        let text = Text { pipe: Some(pipe.clone()), bytes: Vec::new() };
        let lines = Self { shared: Arc::new((Mutex::new(text), Condvar::new())) };
        let collected = lines.clone();
        thread::spawn(move || {
            loop {
                // An interrupted one finds nothing and comes again.
                let _ = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                let mut text = collected.lock();
                text.take();
                collected.shared.1.notify_all();
                if text.pipe.is_none() {
                    return;
                }
            }
        });
        Ok(lines)
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that the program had written when this was called. The thread alone may be late: of two streams, what was
    /// written to one of them before a line of the other is otherwise not always there with that line.
    pub(crate) fn text(&self) -> String {
        let mut text = self.lock();
        text.take();
        String::from_utf8_lossy(&text.bytes).into_owned()
    }

    /// Everything, once the stream has ended; for a second only, a grandchild may hold it open for ever.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let waited =
            self.shared.1.wait_timeout_while(self.lock(), Duration::from_secs(1), |text| text.pipe.is_some());
        waited.unwrap_or_else(PoisonError::into_inner).0.bytes.clone()
    }

    /// The inner error says what happened instead of the line.
    pub(crate) fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Result<String, String>> {
        let end = Instant::now() + limit;
        let mut text = self.lock();
        let mut seen = 0;
        loop {
            while let Some(length) = text.bytes[seen..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&text.bytes[seen..seen + length]).into_owned();
                seen += length + 1;
                if wanted(&line) {
                    return Ok(Ok(line));
                }
            }
            if text.pipe.is_none() {
                return Ok(Err("ended before it was ready".to_owned()));
            }
            interrupt::check()?;
            if Instant::now() > end {
                return Ok(Err(format!("was not ready after {} s", limit.as_secs())));
            }
            let tick = Duration::from_millis(50);
            text = self.shared.1.wait_timeout(text, tick).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_has_been_written_is_there() -> Result<()> {
        for _ in 0..100 {
            let (reader, mut writer) = io::pipe()?;
            let lines = Lines::read(reader)?;
            writer.write_all(b"first\nsecond\n")?;
            assert_eq!(lines.text(), "first\nsecond\n");
            writer.write_all(b"third\n")?;
            drop(writer);
            assert_eq!(lines.text(), "first\nsecond\nthird\n");
            assert_eq!(lines.rest(), b"first\nsecond\nthird\n");
        }
        Ok(())
    }

    #[test]
    fn a_line_is_found_in_what_never_ends() -> Result<()> {
        let (reader, mut writer) = io::pipe()?;
        let lines = Lines::read(reader)?;
        let flood = thread::spawn(move || while writer.write_all(&[b'\n'; 4096]).is_ok() {});
        let found = lines.wait_for(Duration::from_secs(10), str::is_empty)?;
        assert_eq!(found, Ok(String::new()));
        // Nobody reads any more.
        lines.lock().pipe = None;
        flood.join().expect("the writer ends by EPIPE");
        Ok(())
    }
}
