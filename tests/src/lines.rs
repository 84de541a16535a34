//! What a running program writes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt;

/// A stream, collected by a thread.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    closed: bool,
}

impl Lines {
    pub(crate) fn none() -> Self {
        Self { shared: Arc::new((Mutex::new(Text { bytes: Vec::new(), closed: true }), Condvar::new())) }
    }

    pub(crate) fn read(mut from: impl Read + Send + 'static) -> Self {
        let lines = Self { shared: Arc::default() };
        let shared = lines.shared.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut text = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.bytes.extend_from_slice(&buffer[..count]);
                text.closed = count == 0;
                shared.1.notify_all();
                if text.closed {
                    return;
                }
            }
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Everything, once the stream has ended; for a second only, a grandchild may hold it open for ever.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let waited =
            self.shared.1.wait_timeout_while(self.lock(), Duration::from_secs(1), |text| !text.closed);
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
            if text.closed {
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
