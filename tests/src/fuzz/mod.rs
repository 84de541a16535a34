//! Random and damaged packets through the loaded object. [`repeat`] is about those that go from edge to edge. What must
//! be true of every one that natbpf's own NAT has:
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
pub mod repeat;
mod run;
mod tally;
mod worker;

use std::time::Instant;

use anyhow::Result;

pub use run::Options;
use run::{caught, threads};
pub use tally::Tally;
use worker::Worker;

/// Sends packets until there have been enough, or one breaks a rule.
///
/// # Errors
/// The packet that broke a rule and how to see it again; also after a Ctrl-C.
pub fn run(options: Options) -> Result<Tally> {
    let mut sum = Tally::default();
    threads(options, one)?.iter().for_each(|tally| sum.add(tally));
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
