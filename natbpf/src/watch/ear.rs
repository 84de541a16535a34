//! Hearing of what changes in one network namespace, as long as it takes.

use std::{io, time::Duration};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{
    conntrack::Deletions,
    judge::Reason,
    listener::{Listener, Sockets},
    place::Place,
};
use crate::clock::wait_until;

/// Between two looks for what was not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hears.
#[derive(Debug)]
pub struct Ear {
    place: Place,
    listener: Option<Listener>,
    deletions: Deletions,
    /// Whether offload is on. A listener has conntrack keep account of what it tells, so there is none without need.
    on: watch::Receiver<bool>,
    patience: Interval,
}

impl Ear {
    /// Needs a Tokio runtime.
    pub fn new(place: Place, sockets: Sockets, on: watch::Receiver<bool>) -> Self {
        let mut patience = interval(PATIENCE);
        patience.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let listener = Listener::new(place.clone(), sockets).inspect_err(deaf).ok();
        let mut ear = Self { place, listener, deletions: Deletions::default(), on, patience };
        ear.follow_conntrack();
        ear
    }

    /// Waits for something that has changed. Cancel safe.
    pub async fn next(&mut self) -> Reason {
        loop {
            let deleted = self.deletions.due(Instant::now());
            let reason = tokio::select! {
                reason = next(&mut self.listener) => {
                    // Of answers and news of no interest there may be very many.
                    if reason.is_none() {
                        yield_now().await;
                        continue;
                    }
                    reason
                }
                () = wait_until(deleted) => {
                    self.deletions.count(Instant::now());
                    return Reason::Connection;
                }
                _ = self.patience.tick() => self.look_again(),
                Ok(()) = self.on.changed() => None,
            };
            if let Some(Reason::Connection) = reason {
                self.deletions.add();
                continue;
            }
            // The first rule that needs conntrack may have loaded it.
            self.follow_conntrack();
            if let Some(reason) = reason {
                return reason;
            }
        }
    }

    fn follow_conntrack(&mut self) {
        let on = *self.on.borrow_and_update();
        if let Some(listener) = &mut self.listener {
            listener.follow_conntrack(on);
        }
    }

    /// Tries what did not succeed before; a reason if it does now.
    fn look_again(&mut self) -> Option<Reason> {
        match &mut self.listener {
            Some(listener) => listener.look_for_more(),
            None => {
                let sockets = Sockets::open(&self.place);
                self.listener = sockets.and_then(|sockets| Listener::new(self.place.clone(), sockets)).ok();
                self.listener.as_ref().map(|_| Reason::Lost)
            }
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
