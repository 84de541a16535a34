//! The time.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use natbpf_common::Nanoseconds;

/// Monotonic, as exact as a timer tick: cheaper than the exact clock, and timeouts are whole seconds.
#[inline(always)]
pub fn now() -> Nanoseconds {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_coarse_ns() }
}
