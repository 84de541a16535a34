//! Telling a watcher.

use natbpf_common::{
    IfIndex,
    contract::{
        event::{EventKind, FlowEvent},
        gauge::Gauge,
    },
    flow::{FlowKey, Rewrite, Status},
};

use crate::{
    kernel::clock,
    memory::{gauges, maps::EVENTS},
};

/// Writes an event if somebody watches. `key` and `rewrite` are those of the original direction. A full
/// buffer loses it; the watcher sees that in nothing, so the buffer is large. Row O04.
#[inline(always)]
pub fn emit(kind: EventKind, key: &FlowKey, rewrite: Rewrite, status: Status, uplink: IfIndex) {
    write_event(kind as u32, key, rewrite.to_word(), status.to_word(), uplink);
}

#[inline(never)]
fn write_event(kind: u32, key: &FlowKey, rewrite: u64, status: u16, uplink: IfIndex) {
    let now = clock::now();
    if gauges::read(Gauge::WatchUntil) <= now.number() {
        return;
    }
    if let Some(mut slot) = EVENTS.reserve_untyped::<FlowEvent>(0) {
        let event: *mut FlowEvent = slot.as_mut_ptr();
        // Field by field: a whole one would stand on the stack first.
        // SAFETY: the slot is as large, and nobody sees it before it is submitted.
        unsafe {
            (*event).key = *key;
            (*event).rewrite = rewrite;
            (*event).time = now;
            (*event).uplink = uplink;
            (*event).status = status;
            (*event).kind = kind as u16;
        }
        slot.submit(0);
    }
}
