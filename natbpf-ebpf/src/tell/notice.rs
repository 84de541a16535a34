//! Telling user space of drops that the sender and the operator should know of.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use natbpf_common::{
    contract::{
        counter::DropReason,
        gauge::Gauge,
        notice::{INTERVAL, Notice, QUOTED},
    },
    wire::headers::{Headers, Kind},
};

use crate::{
    kernel::clock,
    memory::{gauges, maps::NOTICES},
    packet::skb::Skb,
};

/// Writes a notice of a packet that is dropped, unless there was one just now.
#[inline(always)]
pub fn emit(skb: &Skb<'_>, headers: &Headers, reason: DropReason) {
    if reason.is_noticed() && headers.is(Kind::Forward) {
        // Not what a frame may be filled up with.
        let length = headers.transport.wrapping_sub(headers.network).wrapping_add(headers.payload);
        write_notice(skb.raw(), headers.network, length, reason as u32);
    }
}

/// Not inlined, for its stack.
#[inline(never)]
fn write_notice(skb: *mut __sk_buff, offset: u32, length: u32, reason: u32) {
    let now = clock::now();
    let Some(next) = gauges::cell(Gauge::NoticeAfter) else { return };
    let before = next.load();
    // One processor writes, if several come here at once.
    if now.number() < before || !next.swap(before, now.after(INTERVAL).number()) {
        return;
    }
    let Some(mut slot) = NOTICES.reserve_untyped::<Notice>(0) else { return };
    let notice: *mut Notice = slot.as_mut_ptr();
    let last = if length < QUOTED as u32 { length } else { QUOTED as u32 }.wrapping_sub(1);
    // A volatile read, or LLVM leaves the check out, from which the verifier learns the bounds.
    // SAFETY: a local variable.
    let last = unsafe { (&raw const last).read_volatile() };
    if last >= QUOTED as u32 {
        slot.discard(0);
        return;
    }
    // SAFETY: the slot is as large, and nobody sees it before it is submitted.
    let result = unsafe {
        (*notice).reason = reason;
        (*notice).length = last + 1;
        bpf_skb_load_bytes(skb.cast(), offset, (&raw mut (*notice).packet).cast(), last + 1)
    };
    if result == 0 { slot.submit(0) } else { slot.discard(0) }
}
