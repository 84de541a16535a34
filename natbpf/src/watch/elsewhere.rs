//! Hearing of what changes in the other network namespaces that packets pass: by sockets in each of them, since only
//! there one can ask who is a neighbour of whom, and have conntrack keep account of what is deleted. A socket keeps its
//! namespace, so all of them are closed as soon as the path by which the namespace was found leads there no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, yield_now},
    time::Instant,
};

use super::{ear::Ear, judge::Reason, limit::Limit, listener::Sockets, place::Place, source::Source};
use crate::{
    clock::wait_until,
    network::{Handle, Middle},
};

/// Whether namespaces still are there is looked at so often, but not in more than one part of so many of the time.
const INTERVAL: Duration = Duration::from_millis(50);
const SHARE: u32 = 200;

/// What one could not be listened to is tried again then.
const PATIENCE: Duration = Duration::from_secs(5);

/// So much waits to be taken: who hears more waits, too.
const QUEUE: usize = 64;

/// All of them.
#[derive(Debug)]
pub struct Elsewhere {
    on: watch::Receiver<bool>,
    /// By cookie.
    wanted: BTreeMap<u64, Handle>,
    followed: BTreeMap<u64, Followed>,
    /// The operator was told that these could not be listened to.
    deaf: BTreeSet<u64>,
    said: mpsc::Sender<(u64, Reason)>,
    heard: mpsc::Receiver<(u64, Reason)>,
    limit: Limit,
    /// When to look whether they still are there.
    look: Instant,
    /// When to try those that could not be listened to.
    retry: Instant,
}

/// A namespace that is listened to, until this is dropped.
#[derive(Debug)]
struct Followed {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Elsewhere {
    pub fn new(on: watch::Receiver<bool>) -> Self {
        let (said, heard) = mpsc::channel(QUEUE);
        let (look, retry) = (Instant::now(), Instant::now());
        Self {
            on,
            wanted: BTreeMap::new(),
            followed: BTreeMap::new(),
            deaf: BTreeSet::new(),
            said,
            heard,
            limit: Limit::default(),
            look,
            retry,
        }
    }

    /// Listens to these from now on, and to no others.
    pub fn follow(&mut self, middle: Vec<Middle>) {
        self.wanted = middle.into_iter().map(|middle| (middle.cookie, middle.handle)).collect();
        let wanted = &self.wanted;
        self.followed.retain(|cookie, followed| wanted.get(cookie) == Some(&followed.handle));
        let wanted = &self.wanted;
        self.deaf.retain(|cookie| wanted.contains_key(cookie));
        self.listen();
    }

    /// To those that are wanted and not listened to.
    fn listen(&mut self) {
        for (cookie, handle) in &self.wanted {
            if self.followed.contains_key(cookie) {
                continue;
            }
            let opened = handle.open().and_then(|file| {
                let place = Place::There(Arc::new(file), handle.to_string().into());
                Sockets::open(&place).map(|sockets| (place, sockets))
            });
            match opened {
                Ok((place, sockets)) => {
                    self.deaf.remove(cookie);
                    let ear = Ear::new(place, sockets, self.on.clone());
                    let task = tokio::spawn(tell(*cookie, ear, self.said.clone()));
                    self.followed.insert(*cookie, Followed { handle: handle.clone(), task });
                }
                // It has gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if self.deaf.insert(*cookie) => tracing::warn!(
                    "cannot listen in the network namespace {handle}: {error}; until it succeeds, a change there \
                     takes effect on what is repeated when the time of revalidate is over"
                ),
                Err(_) => {}
            }
        }
        self.retry = Instant::now() + PATIENCE;
        self.look = Instant::now() + INTERVAL;
    }

    /// Waits for something that has changed in one of them. Cancel safe.
    pub async fn next(&mut self) -> Reason {
        loop {
            let look = (!self.followed.is_empty()).then_some(self.look);
            let retry = (self.followed.len() < self.wanted.len()).then_some(self.retry);
            tokio::select! {
                Some((cookie, reason)) = self.heard.recv() => {
                    if self.limit.admits(Source::Namespace(cookie), Instant::now()) {
                        return reason;
                    }
                }
                () = wait_until(self.limit.due()) => {
                    if self.limit.settle(Instant::now()) {
                        return Reason::Often;
                    }
                }
                () = wait_until(look) => {
                    if self.let_go() {
                        return Reason::Namespace;
                    }
                }
                () = wait_until(retry) => self.listen(),
            }
        }
    }

    /// True: some have gone. They are still there as long as somebody listens.
    fn let_go(&mut self) -> bool {
        let start = Clock::now();
        let before = self.followed.len();
        self.followed.retain(|_, followed| followed.handle.is_there());
        // They are found again if somebody else keeps them.
        let followed = &self.followed;
        let gone = self.followed.len() < before;
        if gone {
            self.wanted.retain(|cookie, _| followed.contains_key(cookie));
        }
        self.look = Instant::now() + INTERVAL.max(start.elapsed() * SHARE);
        gone
    }
}

async fn tell(cookie: u64, mut ear: Ear, said: mpsc::Sender<(u64, Reason)>) {
    loop {
        let reason = ear.next().await;
        if said.send((cookie, reason)).await.is_err() {
            return;
        }
        // Others have their turn, even while there is always something to read.
        yield_now().await;
    }
}
