//! Housekeeping, in a thread of its own and in slices: with millions of flows a round takes seconds, and nothing waits for it.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
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

/// The thread, which ends with this.
#[derive(Debug)]
pub struct House {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The end of the flows that are not where these have them; the answer comes when it is done.
#[derive(Debug)]
struct Order(Placement, oneshot::Sender<()>);

impl House {
    pub fn start(pins: &Pins) -> Result<Self> {
        let keeper = Keeper {
            tables: Tables::open(pins)?,
            reaper: Reaper::open(pins)?,
            pace: LEISURE,
            begun: Instant::now(),
            collection: None,
            eviction: None,
            warned: false,
        };
        let (orders, received) = mpsc::channel();
        let keep = move || keeper.keep(&received);
        let thread = thread::Builder::new().name("house".to_owned()).spawn(keep)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Ends the flows that are misplaced, before anything else. What was ordered before and is not done yet is given up, since the
    /// new places count. Who waits for the answer waits for the whole table.
    pub fn evict(&self, placement: Placement) -> oneshot::Receiver<()> {
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
    eviction: Option<(Eviction, oneshot::Sender<()>)>,
    /// The operator was told that the table is nearly full.
    warned: bool,
}

impl Keeper {
    fn keep(mut self, orders: &mpsc::Receiver<Order>) {
        let mut due = Instant::now();
        loop {
            match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Order(placement, done)) => {
                    let eviction = match self.eviction.take() {
                        Some((unfinished, _)) => unfinished.again(placement),
                        None => Eviction::new(placement),
                    };
                    self.eviction = Some((eviction, done));
                    due = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => due = self.work(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does a slice; returns when the next one is due.
    fn work(&mut self) -> Instant {
        let started = Instant::now();
        if let Some((mut eviction, done)) = self.eviction.take() {
            match eviction.slice(&self.tables, &self.reaper) {
                Ok(None) => self.eviction = Some((eviction, done)),
                Ok(Some(ended)) => {
                    if ended > 0 {
                        tracing::info!(
                            "ended {ended} flows: their external address, forward or uplink is gone"
                        );
                    }
                    // Hardly anybody waits for it.
                    let _ = done.send(());
                }
                Err(error) => tracing::error!("cannot end flows that have lost their place: {error:#}"),
            }
            return started;
        }
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

    fn judge(&mut self, round: Round) {
        let took = self.begun.elapsed();
        tracing::trace!("{} entries, acted on {}, in {took:?}", round.entries, round.acted);
        let max = self.tables.max_entries().unwrap_or(u64::MAX);
        let crowded = round.entries > max / 10 * 9;
        self.pace = if crowded { HASTE } else { LEISURE };
        // Once when it is nearly full, and again after it was not (`nf_conntrack` says it at 95 % too).
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

/// Waits for the end of an eviction.
pub async fn done(answer: oneshot::Receiver<()>) -> Result<()> {
    answer.await.context("the flows that have lost their place could not be ended")
}
