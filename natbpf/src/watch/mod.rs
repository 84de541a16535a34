//! Watching the network, in a thread of its own: the epoch is counted up as soon as something has changed,
//! whatever the daemon is busy with.

use std::{io, thread, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{clock::wait_until, datapath::EpochGauge, offload::Epoch};

mod conntrack;
mod judge;
mod limit;
mod links;
mod listener;
mod neighbours;
mod revisions;
mod source;
mod tables;
mod xfrm;

use conntrack::Deletions;
pub use judge::Reason;
use listener::{Listener, Sockets};
pub use revisions::{Revisions, Watched};

/// Between two looks for what was not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Watcher {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// Something has changed that no message tells of.
    Change,
    /// Offload is on, or off; the answer comes when the datapath has been told.
    Switch(bool, oneshot::Sender<()>),
}

impl Watcher {
    /// Watches the network namespace of the calling thread. Goes on from the epoch of an earlier daemon, or
    /// from any number; offload stays as it is.
    pub fn start(gauge: EpochGauge, any: u32) -> Result<Self> {
        let sockets = Sockets::open().context("cannot watch routes, neighbours and rules by netlink")?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, received) = mpsc::unbounded_channel();
        let on = gauge.get()? != 0;
        let epoch = Epoch::new(if on { gauge.get()? } else { any });
        let mut state = State { gauge, epoch, on, deletions: Deletions::default() };
        let watch = move || runtime.block_on(state.watch(sockets, received));
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(watch)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has every flow ask the kernel again, soon.
    pub fn change(&self) {
        self.send(Order::Change);
    }

    /// Switches offload on, with a new epoch, or off, at once.
    pub async fn switch(&self, on: bool) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(Order::Switch(on, done));
        answer.await.context("nobody watches the network any more")
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // If the thread is gone, the answer that does not come tells.
            let _ = orders.send(order);
        }
    }

    /// Ends the thread; the epoch stays as it is.
    pub fn stop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread has.
struct State {
    gauge: EpochGauge,
    epoch: Epoch,
    on: bool,
    deletions: Deletions,
}

impl State {
    async fn watch(&mut self, sockets: Sockets, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut listener = Listener::new(sockets).inspect_err(deaf).ok();
        self.follow_conntrack(&mut listener);
        let mut patience = interval(PATIENCE);
        patience.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Timers go on only when somebody waits, which nobody does while there is always something to read.
            yield_now().await;
            let now = Instant::now();
            let (due, deleted) = (self.epoch.due(now), self.deletions.due(now));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => {
                        self.obey(order);
                        self.follow_conntrack(&mut listener);
                    }
                    None => return,
                },
                reason = next(&mut listener) => match reason {
                    None => {}
                    Some(Reason::Connection) => self.deletions.add(),
                    Some(reason) => {
                        self.take(reason);
                        // The first rule that needs conntrack may have loaded it.
                        self.follow_conntrack(&mut listener);
                    }
                },
                () = wait_until(deleted) => {
                    self.deletions.count(Instant::now());
                    self.take(Reason::Connection);
                }
                () = wait_until(due) => self.count_up(),
                _ = patience.tick() => {
                    if let Some(reason) = look_again(&mut listener) {
                        self.take(reason);
                    }
                    self.follow_conntrack(&mut listener);
                }
            }
        }
    }

    /// While offload is on. A listener has conntrack keep account of what it tells, so there is none without need.
    fn follow_conntrack(&self, listener: &mut Option<Listener>) {
        if let Some(listener) = listener {
            listener.follow_conntrack(self.on);
        }
    }

    fn take(&mut self, reason: Reason) {
        tracing::debug!("every flow asks the kernel again: {reason}");
        self.epoch.change();
    }

    fn obey(&mut self, order: Order) {
        self.epoch.change();
        if let Order::Switch(on, done) = order {
            self.on = on;
            self.count_up();
            // The daemon may have given up.
            let _ = done.send(());
        }
    }

    fn count_up(&mut self) {
        let epoch = self.epoch.count_up(Instant::now());
        if let Err(error) = self.gauge.set(if self.on { epoch } else { 0 }) {
            tracing::error!("{error:#}");
        }
    }
}

/// What is heard next, which may be no change. A listener that fails is gone, and who knows what changes from then on.
async fn next(listener: &mut Option<Listener>) -> Option<Reason> {
    let Some(listening) = listener else { return std::future::pending().await };
    listening.next().await.unwrap_or_else(|error| {
        deaf(&error);
        *listener = None;
        Some(Reason::Lost)
    })
}

fn deaf(error: &io::Error) {
    tracing::error!(
        "cannot watch routes, neighbours and rules by netlink: {error}; until it succeeds, a change takes effect on \
         offloaded flows when their time of revalidate is over"
    );
}

/// Tries what did not succeed before; a reason if it does now.
fn look_again(listener: &mut Option<Listener>) -> Option<Reason> {
    match listener {
        Some(listener) => listener.look_for_netfilter(),
        None => {
            *listener = Sockets::open().and_then(Listener::new).ok();
            listener.as_ref().map(|_| Reason::Lost)
        }
    }
}
