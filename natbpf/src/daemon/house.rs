//! Housekeeping, in a thread of its own and in slices: with millions of flows a round takes seconds, and
//! nothing waits for it.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::sync::oneshot;

use crate::{
    datapath::{Pins, Reaper, Tables},
    gc::{Collection, Eviction, Round},
    plan::Placement,
};

/// How much is done, and how often.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// From the beginning of a round to the next one's.
    interval: Duration,
    /// One part of so many of a processor's time is used at most: a round through a large table takes longer.
    share: u32,
}

const LEISURE: Pace = Pace { interval: Duration::from_secs(5), share: 16 };

/// While the table is nearly full, so that what is over gives its place.
const HASTE: Pace = Pace { interval: Duration::from_secs(1), share: 6 };

/// Between two attempts to end flows.
const RETRY: Duration = Duration::from_secs(1);

/// The thread, which ends with this.
#[derive(Debug)]
pub struct House {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The end of the flows that are not where these have them.
#[derive(Debug)]
struct Order(Placement, oneshot::Sender<Outcome>);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It did not succeed, and is tried again.
    Later,
}

impl House {
    pub fn start(pins: &Pins) -> Result<Self> {
        let keeper = Keeper {
            tables: Tables::open(pins)?,
            reaper: Reaper::open(pins)?,
            pace: LEISURE,
            begun: Instant::now(),
            collection: None,
            due: Instant::now(),
            eviction: None,
            waiting: Vec::new(),
            later: Vec::new(),
            again: false,
            retry: None,
            warned: false,
        };
        let (orders, received) = mpsc::channel();
        let keep = move || keeper.keep(&received);
        let thread = thread::Builder::new().name("house".to_owned()).spawn(keep)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Ends the flows that are misplaced. What was ordered before and is not done yet goes on with the new places.
    /// The answer comes when the whole table was looked through; none comes if the daemon ends before.
    pub fn evict(&self, placement: Placement) -> oneshot::Receiver<Outcome> {
        let (done, answer) = oneshot::channel();
        if let Some(orders) = &self.orders {
            // If the thread is gone, the answer that does not come tells.
            let _ = orders.send(Order(placement, done));
        }
        answer
    }

    /// Ends the thread, within a slice.
    pub fn stop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread has.
struct Keeper {
    tables: Tables,
    reaper: Reaper,
    pace: Pace,
    /// When the last round began.
    begun: Instant,
    collection: Option<Collection>,
    /// When its next slice is due.
    due: Instant,
    eviction: Option<Eviction>,
    /// For the end of its round, which began after they had ordered it.
    waiting: Vec<oneshot::Sender<Outcome>>,
    /// For the end of the next one.
    later: Vec<oneshot::Sender<Outcome>>,
    /// There has to be a next one.
    again: bool,
    /// It has failed, which was said, and is tried again then.
    retry: Option<Instant>,
    /// The operator was told that the table is nearly full.
    warned: bool,
}

impl Keeper {
    fn keep(mut self, orders: &mpsc::Receiver<Order>) {
        let mut due = Instant::now();
        loop {
            match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Order(placement, done)) => {
                    match self.eviction.take() {
                        Some(unfinished) => {
                            self.eviction = Some(unfinished.with(placement));
                            self.again = true;
                            // Hardly anybody waits.
                            self.later.retain(|done| !done.is_closed());
                            self.later.push(done);
                        }
                        None => {
                            self.eviction = Some(Eviction::new(placement));
                            self.waiting.push(done);
                        }
                    }
                    self.retry = None;
                    due = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => due = self.work(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does a slice; returns when the next one is due.
    fn work(&mut self) -> Instant {
        let now = Instant::now();
        // It takes its small part of the time, and the rest is for what has lost its place.
        if self.due <= now {
            self.due = self.collect();
        }
        if self.eviction.is_none() {
            return self.due;
        }
        if self.retry.is_none_or(|retry| retry <= now) {
            self.evict();
        }
        self.retry.unwrap_or(now).min(self.due)
    }

    /// A slice of a round; returns when the next one is due.
    fn collect(&mut self) -> Instant {
        let started = Instant::now();
        let collection = self.collection.get_or_insert_with(|| {
            self.begun = started;
            Collection::default()
        });
        match collection.slice(&self.tables, &self.reaper) {
            Ok(None) => return started + started.elapsed() * self.pace.share,
            Ok(Some(round)) => self.judge(round),
            Err(error) => tracing::error!("housekeeping failed: {error:#}"),
        }
        self.collection = None;
        self.begun + self.pace.interval
    }

    /// A slice of ending what has lost its place.
    fn evict(&mut self) {
        let Some(eviction) = &mut self.eviction else { return };
        let outcome = match eviction.slice(&self.tables, &self.reaper) {
            Ok(None) => return,
            Ok(Some(ended)) => {
                if ended > 0 {
                    tracing::info!("ended {ended} flows: their external address, forward or uplink is gone");
                }
                self.retry = None;
                if self.again {
                    eviction.rewind();
                } else {
                    self.eviction = None;
                }
                Outcome::Done
            }
            Err(error) => {
                if self.retry.is_none() {
                    tracing::error!(
                        "cannot end flows that have lost their place, and tries again: {error:#}"
                    );
                }
                eviction.rewind();
                self.retry = Some(Instant::now() + RETRY);
                Outcome::Later
            }
        };
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(outcome);
        }
        // The next round, if there is one, is theirs.
        self.again = false;
        self.waiting.append(&mut self.later);
    }

    fn judge(&mut self, round: Round) {
        let took = self.begun.elapsed();
        tracing::trace!("{} entries, acted on {}, in {took:?}", round.entries, round.acted);
        let max = self.tables.max_entries().unwrap_or(u64::MAX);
        let crowded = round.entries > max / 10 * 9;
        self.pace = if crowded { HASTE } else { LEISURE };
        // Once when it is nearly full, and again after it was not (`nf_conntrack` says it at 95 % too). Row O06.
        let nearly_full = round.entries > max / 100 * 95;
        if nearly_full && !self.warned {
            tracing::warn!(
                "the flow table is nearly full: {} of {} flows; new ones will be refused. \
                 Raise max_flows, or look for a flood with `natbpf flows list`",
                round.entries / 2,
                max / 2
            );
        }
        self.warned = nearly_full || self.warned && crowded;
    }
}

/// Waits for the end of an eviction, as a start does.
pub async fn done(answer: oneshot::Receiver<Outcome>) -> Result<()> {
    match answer.await {
        Ok(Outcome::Done) => Ok(()),
        _ => bail!("the flows that have lost their place could not be ended"),
    }
}

/// Says that a reload is done, when nothing of the old configuration goes on, since the operator wants to know.
/// `None`: nothing had to be ended.
pub async fn say_reloaded(answer: Option<oneshot::Receiver<Outcome>>) {
    let outcome = match answer {
        Some(answer) => answer.await,
        None => Ok(Outcome::Done),
    };
    match outcome {
        Ok(Outcome::Done) => tracing::info!("reloaded; flows go on"),
        Ok(Outcome::Later) => {
            tracing::warn!(
                "reloaded, but flows that have no place in the new configuration are yet to be ended"
            );
        }
        // The daemon ends.
        Err(_) => {}
    }
}
