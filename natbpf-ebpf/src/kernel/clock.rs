//! The time.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use natbpf_common::Timestamp;

/// The timer tick of which [`TIME`] is.
///
/// Both are shared by all processors. A program that reads one of them from before a tick and the other from after
/// it is wrong by that tick.
static mut TICK: u64 = 0;
static mut TIME: Timestamp = Timestamp::new(0);

/// Monotonic, as exact as a timer tick: cheaper than the exact clock, and timeouts are whole seconds. Row X10.
///
/// It moves with the ticks, which the verifier makes a load of: so there is one call for each, and not one
/// for each packet.
#[inline(always)]
pub fn now() -> Timestamp {
    // SAFETY: the helpers have no preconditions. Words are read and written whole.
    unsafe {
        let tick = bpf_jiffies64();
        if (&raw const TICK).read_volatile() == tick {
            return (&raw const TIME).read_volatile();
        }
        let time = Timestamp::new(bpf_ktime_get_coarse_ns());
        (&raw mut TIME).write_volatile(time);
        (&raw mut TICK).write_volatile(tick);
        time
    }
}
