//! Random packets by several threads, and what is said of one that breaks a rule.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

use crate::process::interrupt::Interrupted;

/// How much, and which.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first thread's seed; each further thread has the next number.
    pub seed: u64,
    /// All threads together.
    pub packets: u64,
    /// Each has programs and tables of its own.
    pub threads: u64,
    /// Ends it, however many there have been.
    pub limit: Option<Duration>,
}

/// What each thread makes of its seed and its share of the packets.
pub fn threads<T: Send>(
    options: Options,
    one: impl Fn(u64, u64, Option<Instant>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = options.threads.max(1);
    let end = options.limit.map(|limit| Instant::now() + limit);
    let one = &one;
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let share = options.packets / threads + u64::from(number < options.packets % threads);
                scope.spawn(move || one(options.seed.wrapping_add(number), share, end))
            })
            .collect();
        let joined = started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|cause| Err(anyhow!("{}", text(&*cause)))));
        // All of them, before the first error ends it.
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}

/// A panic is an error, too.
pub fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|cause| Err(anyhow!("{}", text(&*cause))))
}

fn text(cause: &(dyn std::any::Any + Send)) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// The packet that broke a rule, the latest ones, and how to see it again; that it was interrupted is no accusation.
pub fn accuse(
    seed: u64,
    number: u64,
    subject: &str,
    what: Error,
    latest: impl IntoIterator<Item = String>,
) -> Error {
    if what.is::<Interrupted>() {
        return what;
    }
    let latest = latest.into_iter().map(|line| format!("\n{line}")).collect::<String>();
    // The datapath's tables can be long.
    let what: String = format!("{what:#}").chars().take(2000).collect();
    anyhow!(
        "packet {number} of seed {seed}: {what}\nthe latest packets:{latest}\nto see it again: \
         `cargo xtask fuzz --object {subject} --seed {seed} --threads 1 --packets {number}`"
    )
}

/// How many packets a failure shows.
const SHOWN: usize = 4;

/// Remembers the latest ones.
pub fn remember<T>(latest: &mut VecDeque<T>, one: T) {
    if latest.len() == SHOWN {
        latest.pop_front();
    }
    latest.push_back(one);
}
