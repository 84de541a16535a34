//! Rules of the host that have to see every packet: looked for in a thread of its own, which leaves their traffic to
//! the kernel, whatever the daemon is busy with. There may be very many rules.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    datapath::{Note, Pins, ReservedTable},
    network::Middle,
    obstacles::{Obstacle, Traffic, generation, look_at_legacy, look_at_nftables, look_in, reserved},
    status::{Noted as _, ObstacleStatus},
    watch::{Changer, Watcher},
};

/// Between two looks at what nobody tells of: rules of iptables-legacy.
const INTERVAL: Duration = Duration::from_secs(1);

/// The same in other namespaces, of which there may be hundreds.
const ELSEWHERE: Duration = Duration::from_secs(30);

/// Looking takes at most one part of so many of a processor's time, but where rules change all the time.
const SHARE: u32 = 20;

/// So many are named in the log at a time; `natbpf status` has more.
const NAMED: usize = 8;

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Sentry {
    news: mpsc::Sender<()>,
    over: Arc<AtomicBool>,
    anyway: Arc<AtomicBool>,
    middle: Arc<Mutex<Vec<Middle>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sentry {
    /// Looks at the rules of the calling thread's network namespace, and goes on as the watcher hears that they have
    /// changed. `anyway`: they are named, and their traffic is repeated all the same.
    pub fn start(pins: &Pins, watcher: &Watcher, anyway: bool) -> Result<Self> {
        let (news, received) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let anyway = Arc::new(AtomicBool::new(anyway));
        let middle = Arc::new(Mutex::new(Vec::new()));
        let mut looking = Looking {
            pins: pins.clone(),
            middle: Arc::clone(&middle),
            anyway: Arc::clone(&anyway),
            looked: Instant::now(),
            table: ReservedTable::open(pins)?,
            changer: watcher.changer(),
            generation: None,
            legacy: Vec::new(),
            found: Vec::new(),
            failure: None,
        };
        // From now on, so that no change falls between.
        watcher.tell_of_rules(news.clone());
        looking.look()?;
        let (ended, guard) = (Arc::clone(&over), move || looking.guard(&received, &over));
        let thread = thread::Builder::new().name("obstacles".to_owned()).spawn(guard)?;
        Ok(Self { news, over: ended, anyway, middle, thread: Some(thread) })
    }

    /// Whether traffic that rules have to see is repeated all the same, from now on.
    pub fn set_anyway(&self, anyway: bool) {
        if self.anyway.swap(anyway, Ordering::Relaxed) != anyway {
            let _ = self.news.send(());
        }
    }

    /// Looks at the rules of these namespaces, too, from now on.
    pub fn pass(&self, middle: &[Middle]) {
        *self.middle.lock().unwrap_or_else(PoisonError::into_inner) = middle.to_vec();
        // Where there is nobody to hear it, the daemon ends.
        let _ = self.news.send(());
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.news.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Looking {
    pins: Pins,
    /// Namespaces that packets pass.
    middle: Arc<Mutex<Vec<Middle>>>,
    anyway: Arc<AtomicBool>,
    looked: Instant,
    table: ReservedTable,
    changer: Changer,
    /// Of nftables' rules, when they were looked at; `None`: they were not, or that has failed.
    generation: Option<u32>,
    /// What of the last look nobody tells of.
    legacy: Vec<Obstacle>,
    found: Vec<Obstacle>,
    /// Why they could not be read; it is tried again.
    failure: Option<String>,
}

impl Looking {
    fn guard(mut self, news: &mpsc::Receiver<()>, over: &AtomicBool) {
        let mut rest = Duration::ZERO;
        loop {
            let heard = news.recv_timeout(INTERVAL.max(rest));
            if over.load(Ordering::Relaxed) || heard == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            // Who changes rules all the time is not to have all of it.
            if heard.is_ok() {
                thread::sleep(INTERVAL.min(rest));
            }
            while news.try_recv().is_ok() {}
            let started = Instant::now();
            let due = heard.is_ok() || self.has_changed();
            if due && let Err(error) = self.look() {
                tracing::error!("{error:#}");
            }
            rest = started.elapsed() * SHARE;
        }
    }

    /// Whether there are other rules than before, which nobody may have told.
    fn has_changed(&self) -> bool {
        self.failure.is_some()
            || !self.passed().is_empty() && self.looked.elapsed() > ELSEWHERE
            || self.generation.is_none()
            || generation().ok() != self.generation
            || look_at_legacy().ok().as_ref() != Some(&self.legacy)
    }

    fn passed(&self) -> Vec<Middle> {
        self.middle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks, and has the datapath leave to the kernel what has to be.
    fn look(&mut self) -> Result<()> {
        self.looked = Instant::now();
        let before = generation().ok();
        let found = read(&self.passed());
        let failure = found.as_ref().err().map(|error| format!("{error:#}"));
        let (found, legacy) = found.unwrap_or_else(|error| (vec![unknown(&error)], Vec::new()));
        self.generation = before.filter(|_| failure.is_none());
        self.failure = failure;
        self.legacy = legacy;
        let anyway = self.anyway.load(Ordering::Relaxed);
        if self.table.write(&reserved(if anyway { &[] } else { &found }))? {
            // What was noted before goes on for no packet more.
            self.changer.change();
        }
        if found != self.found {
            self.say(&found, anyway);
            let noted: Vec<_> = found.iter().map(ObstacleStatus::from).collect();
            Note::Obstacles.write(&self.pins, ObstacleStatus::to_note(&noted).as_deref())?;
            self.found = found;
        }
        Ok(())
    }

    /// Names what was not there before.
    fn say(&self, found: &[Obstacle], anyway: bool) {
        let what = if anyway { "repeated anyway" } else { "left to the kernel" };
        let news: Vec<&Obstacle> = found.iter().filter(|one| !self.found.contains(one)).collect();
        for one in news.iter().take(NAMED) {
            tracing::info!("packets ({}) are {what}: {one}", one.traffic);
        }
        if news.len() > NAMED {
            tracing::info!(
                "{} more rules have to see every packet; `natbpf status` shows them",
                news.len() - NAMED
            );
        }
        if found.is_empty() {
            tracing::info!("no rule has to see every packet any more");
        }
    }
}

/// What there is, and what of it nobody tells of.
fn read(middle: &[Middle]) -> Result<(Vec<Obstacle>, Vec<Obstacle>)> {
    let (mut found, legacy) = (look_at_nftables()?, look_at_legacy()?);
    found.extend(legacy.iter().cloned());
    for passed in middle {
        // One that is gone is passed no more.
        if let Ok(namespace) = passed.handle.open() {
            found.extend(look_in(&namespace, &passed.handle.to_string())?);
        }
    }
    found.sort();
    Ok((found, legacy))
}

/// Rules that nobody can read may be any.
fn unknown(error: &anyhow::Error) -> Obstacle {
    Obstacle {
        place: "rules".to_owned(),
        name: "unknown".to_owned(),
        what: format!("cannot be read: {error:#}"),
        traffic: Traffic::default(),
    }
}
