//! Random and damaged packets through the loaded object, and what must be true of every one:
//!
//! - nothing leaves with an inside source, nor with an inside address in a packet that it quotes;
//! - a checksum that was right is right afterwards, and a wrong one is not made right;
//! - a packet that is dropped is counted under one reason, one that is translated under its traffic, and one that is
//!   neither is not changed;
//! - of a packet that is translated only the address, port and checksums of one end change;
//! - what answers a translated packet finds its way back;
//! - in the end every flow goes, and leaves nothing in the tables.
//!
//! Packets are made for the flows that earlier ones began, so that deep paths are reached. All of it follows from a
//! seed: the same seed gives the same packets, as long as the datapath does the same with them.

mod configuration;
mod damage;
mod frame;
mod generate;
mod judge;
pub mod random;
mod tally;
mod worker;

use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub use tally::Tally;

use worker::Worker;

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

/// Sends packets until there have been enough, or one breaks a rule.
///
/// # Errors
/// The packet that broke a rule and how to see it again; also after a Ctrl-C.
pub fn run(options: Options) -> Result<Tally> {
    let threads = options.threads.max(1);
    let end = options.limit.map(|limit| Instant::now() + limit);
    let outcomes: Vec<Result<Tally>> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let share = options.packets / threads + u64::from(number < options.packets % threads);
                scope.spawn(move || one(options.seed.wrapping_add(number), share, end))
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|cause| Err(anyhow!("{}", text(&*cause)))))
            .collect()
    });
    let mut sum = Tally::default();
    for outcome in outcomes {
        sum.add(&outcome?);
    }
    Ok(sum)
}

/// One thread's share.
fn one(seed: u64, packets: u64, end: Option<Instant>) -> Result<Tally> {
    let mut worker = Worker::new(seed);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| worker.run(packets, end)));
    match outcome {
        Ok(Ok(())) => Ok(worker.into_tally()),
        Ok(Err(error)) if error.is::<crate::process::interrupt::Interrupted>() => Err(error),
        Ok(Err(error)) => Err(worker.accuse(seed, &format!("{error:#}"))),
        Err(cause) => Err(worker.accuse(seed, text(&*cause))),
    }
}

fn text(cause: &(dyn std::any::Any + Send)) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
