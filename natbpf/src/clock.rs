//! The datapath's clock, read from user space, and waiting by that of the runtime.

use natbpf_common::{SECOND, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};

/// Now, as the BPF programs know it: monotonic, as exact as a timer tick. Row X10.
pub fn now() -> Timestamp {
    // The clock exists on every Linux that runs BPF; without it nothing would seem to age.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Timestamp::default(), |time| {
        let (seconds, nanoseconds) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
        Timestamp::new(nanoseconds) + seconds * SECOND
    })
}

/// Waits until then; `None`: for ever.
pub async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
