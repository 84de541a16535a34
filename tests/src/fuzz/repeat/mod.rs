//! Random packets through the loaded programs of edges: in by `edge_ingress` or `edge_xdp`, across a host that is made
//! up, and out by `edge_egress`. What must be true of every one:
//!
//! - what is repeated equals, byte for byte, what the host would have sent, tag, mark and priority included. A device
//!   fills up short frames, so that what is behind a packet does not count;
//! - that is what the host has done twice in a row to packets of the same tuple in the same frames, each of which left
//!   once and as it came, but for what a path says;
//! - where the host has changed its mind, that holds for `revalidate`, and not beyond the next epoch;
//! - nothing is repeated that the kernel has to see, such as fragments, options, the beginning and the end of
//!   connections, short lives, long packets;
//! - checksums are right where they were right, and nowhere else;
//! - what is not repeated is not changed.
//!
//! The host bridges, routes and translates, puts tags on and takes them off. And it does what no path may come of: it
//! changes other fields, drops, floods, sends packets late, with others' numbers or by two ways, and changes its mind.
//! All of it follows from a seed, but for the moment when a path has to be confirmed again.

mod conversation;
mod host;
mod model;
mod odd;
mod plain;
mod special;
mod tally;
mod worker;

use std::time::Instant;

use anyhow::{Result, ensure};

pub use tally::Tally;

use super::run::{Options, caught, threads};
use worker::Worker;

/// As many show something of every kind.
const ENOUGH: u64 = 100_000;

/// As many show whether what is known is repeated.
const SOME: u64 = 5_000;
/// One in so many may be missed, where the table has no room for all paths.
const MISSED: u64 = 5;

/// Sends packets until there have been enough, or one breaks a rule.
///
/// # Errors
/// The packet that broke a rule and how to see it again, or what was never repeated; also after a Ctrl-C.
pub fn run(options: Options) -> Result<Tally> {
    let mut sum = Tally::default();
    threads(options, one)?.iter().for_each(|tally| sum.add(tally));
    // How many of all packets are repeated says little: hosts where many talk have nearly each packet from another.
    let Tally { packets, repeated, missed, .. } = sum;
    ensure!(
        packets < SOME || missed * MISSED < repeated,
        "{repeated} packets were repeated, and {missed} were not though their paths were known"
    );
    let never = sum.never();
    ensure!(sum.packets < ENOUGH || never.is_empty(), "nothing was repeated that was: {}", never.join(", "));
    Ok(sum)
}

/// One thread's share.
fn one(seed: u64, packets: u64, end: Option<Instant>) -> Result<Tally> {
    let mut worker = Worker::new(seed);
    match caught(|| worker.run(packets, end)) {
        Ok(()) => Ok(worker.into_tally()),
        Err(what) => Err(worker.accuse(seed, what)),
    }
}
