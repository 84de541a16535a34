//! Connections that rest after packets that conntrack has not seen: it is told of them, in a thread of its own. There
//! may be very many.

use std::{
    collections::VecDeque,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use natbpf_common::{Timestamp, contract::counter::Counter};

use crate::{
    clock,
    datapath::{Pins, Tables},
    network::Middle,
    paths::{Connection, Trackers, connections},
};

/// Between two looks at the paths, which take at most one part of so many of a processor's time.
const INTERVAL: Duration = Duration::from_secs(2);
const SHARE: u32 = 50;

/// So many are seen to at a time, and so many can wait. Of one that cannot, conntrack thinks what it thinks.
const BATCH: usize = 4096;
const WAITING: usize = 1 << 16;

/// Namespaces are looked for anew after this.
const LIFE: Duration = Duration::from_mins(1);

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Resting {
    passed: Option<mpsc::Sender<Vec<Middle>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Resting {
    /// For the calling thread's network namespace.
    pub fn start(pins: &Pins) -> Result<Self> {
        let (passed, received) = mpsc::channel();
        let looking = Looking {
            tables: Tables::open(pins)?,
            middle: Vec::new(),
            since: clock::now(),
            repeated: 0,
            active: Instant::now(),
            waiting: VecDeque::new(),
            trackers: None,
            failure: None,
        };
        let keep = move || looking.keep(&received);
        let thread = thread::Builder::new().name("resting".to_owned()).spawn(keep)?;
        Ok(Self { passed: Some(passed), thread: Some(thread) })
    }

    /// Packets pass these namespaces, too, from now on.
    pub fn pass(&self, middle: &[Middle]) {
        if let Some(passed) = &self.passed {
            // Where there is nobody to hear it, the daemon ends.
            let _ = passed.send(middle.to_vec());
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.passed = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Looking {
    tables: Tables,
    /// Namespaces that packets pass.
    middle: Vec<Middle>,
    /// What ran out before then was seen.
    since: Timestamp,
    /// Packets that were repeated, as counted last.
    repeated: u64,
    /// Until then paths may run out.
    active: Instant,
    waiting: VecDeque<Connection>,
    /// Since when.
    trackers: Option<(Instant, Trackers)>,
    failure: Option<String>,
}

impl Looking {
    fn keep(mut self, passed: &mpsc::Receiver<Vec<Middle>>) {
        let mut due = Instant::now() + INTERVAL;
        loop {
            match passed.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(middle) => {
                    self.middle = middle;
                    self.trackers = None;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let started = Instant::now();
                    match self.look() {
                        Ok(()) => self.failure = None,
                        Err(error) => self.fail(format!("{error:#}")),
                    }
                    due = started + INTERVAL.max(started.elapsed() * SHARE);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        self.find()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let trackers = match self.trackers.take().filter(|(opened, _)| opened.elapsed() < LIFE) {
            Some(known) => known,
            None => (Instant::now(), Trackers::open(self.middle.iter().map(|middle| &middle.handle))?),
        };
        let (_, trackers) = self.trackers.insert(trackers);
        let batch = BATCH.min(self.waiting.len());
        self.waiting.drain(..batch).try_for_each(|connection| trackers.keep(&connection))?;
        Ok(())
    }

    /// The connections whose paths have run out since the last look. One whose path was ended goes on, or is over.
    fn find(&mut self) -> Result<()> {
        let (now, since) = (clock::now(), self.since);
        self.since = now;
        let repeated = self.tables.counters()?[Counter::PacketsRepeated as usize];
        if repeated != self.repeated {
            let lasts: Duration = self.tables.repeat()?.revalidate.into();
            (self.repeated, self.active) = (repeated, Instant::now() + lasts + INTERVAL);
        }
        if Instant::now() < self.active {
            self.waiting.extend(connections(&self.tables, since, now)?);
            self.waiting.truncate(WAITING);
        }
        Ok(())
    }

    fn fail(&mut self, failure: String) {
        // They may be gone.
        self.trackers = None;
        if self.failure.as_ref() != Some(&failure) {
            tracing::warn!(
                "cannot tell conntrack of connections that rest: {failure}; where it has not seen that data was \
                 acknowledged, it keeps them for nf_conntrack_tcp_timeout_unacknowledged"
            );
            self.failure = Some(failure);
        }
    }
}
