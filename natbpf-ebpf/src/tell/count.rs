//! Counting.

use natbpf_common::{
    contract::counter::{Counter, DropReason},
    path::cell::PathFlags,
};

use crate::memory::maps::COUNTERS;

#[inline(always)]
pub fn add(counter: Counter) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the value belongs to this processor, and no program interrupts another of the same hook.
        unsafe { (*counters)[counter as usize] += 1 };
    }
}

/// Counts a drop.
#[inline(always)]
pub fn dropped(reason: DropReason) {
    let index = reason as usize;
    // LLVM packs the reason into a word with other things, from which the verifier of Linux 6.1 does not
    // learn how large it can be; rustc knows, and would leave a plain check out.
    // SAFETY: a local variable.
    let index = unsafe { (&raw const index).read_volatile() };
    if let Some(counters) = COUNTERS.get_ptr_mut(0)
        && index < Counter::COUNT
    {
        // SAFETY: as in `add`; inside, as checked.
        unsafe { *(&raw mut (*counters)).cast::<u64>().add(index) += 1 };
    }
}

/// Counts a packet and its bytes by one lookup.
#[inline(always)]
pub fn traffic(packets: Counter, bytes: Counter, length: u32) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: as in `add`.
        unsafe {
            (*counters)[packets as usize] += 1;
            (*counters)[bytes as usize] += length as u64;
        }
    }
}

/// Counts a packet that was repeated; one of natbpf's own NAT among the translated ones, too.
#[inline(always)]
pub fn repeated(flags: PathFlags, length: u32) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        let add = |counter: Counter, number: u64| {
            // SAFETY: as in `add`.
            unsafe { (*counters)[counter as usize] += number };
        };
        add(Counter::PacketsRepeated, 1);
        if flags.intersects(PathFlags::OUT) {
            add(Counter::EgressPackets, 1);
            add(Counter::EgressBytes, length as u64);
            add(Counter::EgressOffloaded, 1);
        } else if flags.intersects(PathFlags::IN) {
            add(Counter::IngressPackets, 1);
            add(Counter::IngressBytes, length as u64);
            add(Counter::IngressOffloaded, 1);
        }
    }
}
