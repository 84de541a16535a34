//! Watching the network, in a thread of its own: the epoch is counted up as soon as something has changed,
//! whatever the daemon is busy with.

use std::{sync, thread};

use anyhow::{Context as _, Result};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::yield_now,
    time::Instant,
};

use crate::{clock::wait_until, datapath::EpochGauge, network::Middle, offload::Epoch};

mod conntrack;
mod ear;
mod elsewhere;
mod judge;
mod limit;
mod links;
mod listener;
mod neighbours;
mod openvswitch;
mod place;
mod revisions;
mod source;
mod tables;
mod xfrm;

use ear::Ear;
use elsewhere::Elsewhere;
pub use judge::Reason;
use listener::Sockets;
use place::Place;
pub use revisions::{Revisions, Watched};

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
    /// Packets pass these namespaces, and no others.
    Follow(Vec<Middle>),
    /// Somebody wants to know when rules have changed.
    Tell(sync::mpsc::Sender<()>),
}

/// Has flows ask the kernel again for as long as there is a watcher.
#[derive(Debug)]
pub struct Changer(Option<mpsc::WeakUnboundedSender<Order>>);

impl Changer {
    /// As [`Watcher::change`].
    pub fn change(&self) {
        if let Some(orders) = self.0.as_ref().and_then(mpsc::WeakUnboundedSender::upgrade) {
            let _ = orders.send(Order::Change);
        }
    }
}

impl Watcher {
    /// Watches the network namespace of the calling thread. Goes on from the epoch of an earlier daemon, or
    /// from any number; offload stays as it is.
    pub fn start(gauge: EpochGauge, any: u32) -> Result<Self> {
        let sockets =
            Sockets::open(&Place::Here).context("cannot watch routes, neighbours and rules by netlink")?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, received) = mpsc::unbounded_channel();
        let on = gauge.get()? != 0;
        let epoch = Epoch::new(if on { gauge.get()? } else { any });
        let mut state = State { gauge, epoch, on: watch::Sender::new(on), told: None };
        let watch = move || runtime.block_on(state.watch(sockets, received));
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(watch)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has every flow ask the kernel again, soon.
    pub fn change(&self) {
        self.send(Order::Change);
    }

    /// The same for a thread that does not keep this one from ending.
    pub fn changer(&self) -> Changer {
        Changer(self.orders.as_ref().map(mpsc::UnboundedSender::downgrade))
    }

    /// Tells of each change of nftables, and of each time when there may have been one.
    pub fn tell_of_rules(&self, told: sync::mpsc::Sender<()>) {
        self.send(Order::Tell(told));
    }

    /// Packets pass these namespaces from now on, and no others: what changes there counts.
    pub fn follow(&self, middle: &[Middle]) {
        self.send(Order::Follow(middle.to_vec()));
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
    on: watch::Sender<bool>,
    /// Who wants to know when rules have changed.
    told: Option<sync::mpsc::Sender<()>>,
}

impl State {
    async fn watch(&mut self, sockets: Sockets, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut here = Ear::new(Place::Here, sockets, self.on.subscribe());
        let mut elsewhere = Elsewhere::new(self.on.subscribe());
        loop {
            // Timers go on only when somebody waits, which nobody does while there is always something to read.
            yield_now().await;
            let due = self.epoch.due(Instant::now());
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Follow(middle)) => {
                        elsewhere.follow(middle);
                        self.take(Reason::Namespace);
                    }
                    Some(order) => self.obey(order),
                    None => return,
                },
                reason = here.next() => self.take(reason),
                reason = elsewhere.next() => self.take(reason),
                () = wait_until(due) => self.count_up(),
            }
        }
    }

    fn take(&mut self, reason: Reason) {
        tracing::debug!("every flow asks the kernel again: {reason}");
        self.epoch.change();
        if let (Reason::Ruleset | Reason::Lost | Reason::Asked, Some(told)) = (reason, &self.told) {
            // If nobody wants to know any more, the daemon ends.
            let _ = told.send(());
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Change | Order::Follow(_) => self.epoch.change(),
            Order::Switch(on, done) => {
                self.epoch.change();
                self.on.send_replace(on);
                self.count_up();
                // The daemon may have given up.
                let _ = done.send(());
            }
            Order::Tell(told) => self.told = Some(told),
        }
    }

    fn count_up(&mut self) {
        let epoch = self.epoch.count_up(Instant::now());
        if let Err(error) = self.gauge.set(if *self.on.borrow() { epoch } else { 0 }) {
            tracing::error!("{error:#}");
        }
    }
}
