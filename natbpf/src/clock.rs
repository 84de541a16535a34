//! The datapath's clock, read from user space.

use natbpf_common::{Nanoseconds, SECOND};
use nix::time::{ClockId, clock_gettime};

/// Now, as the BPF programs know it: monotonic, as exact as a timer tick. Row X10.
pub fn now() -> Nanoseconds {
    // The clock exists on every Linux that runs BPF; without it nothing would seem to age.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |time| {
        let (seconds, nanoseconds) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
        seconds * SECOND + nanoseconds
    })
}
