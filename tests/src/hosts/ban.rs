//! What a platform forbids while it is running.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::datagrams::{Datagrams, SOME};
use super::host::Host;
use super::streams::Stream;
use crate::process::wait::wait_until;

/// How long datagrams may still arrive. Without natbpf none does.
const LATE: Duration = Duration::from_millis(1200);
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(3);
/// How long a platform may take to let packets pass again.
const BACK: Duration = Duration::from_secs(20);

/// A flow that runs, repeated if natbpf is there, is stopped by what `begin` has the platform do, and another one runs
/// after `end`. `begin` returns when the platform has done it.
pub fn is_obeyed(
    host: &dyn Host,
    stream: &Stream<'_>,
    begin: impl FnOnce() -> Result<()>,
    end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let datagrams = Datagrams::of(stream)?.context("its client has no socket of ours")?;
    let before = host.repeated();
    datagrams.run()?;
    if let (Some(before), Some(after)) = (before, host.repeated()) {
        ensure!(
            after - before >= u64::from(SOME / 2),
            "of {SOME} datagrams {} were repeated",
            after - before
        );
    }
    begin()?;
    let began = Instant::now();
    let mut last = Duration::ZERO;
    while began.elapsed() < WATCHED {
        if datagrams.arrives(b"forbidden")? {
            last = began.elapsed();
        }
        thread::sleep(Duration::from_millis(5));
    }
    end()?;
    ensure!(last < LATE, "datagrams arrived for {last:?} after it");
    // Another one, since conntrack goes on with what it has made of packets meanwhile.
    drop(datagrams);
    wait_until("packets arrive again", BACK, || {
        Datagrams::of(stream)?.map_or(Ok(false), |datagrams| datagrams.arrives(b"again"))
    })
}
