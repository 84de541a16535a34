//! Counting.

use natbpf_common::{
    contract::counter::{Counter, DropReason},
    flow::Direction,
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

/// Counts a packet that was repeated.
#[inline(always)]
pub fn repeated(direction: Direction, length: u32) {
    let (packets, bytes, offloaded) = match direction {
        Direction::Original => (Counter::EgressPackets, Counter::EgressBytes, Counter::EgressOffloaded),
        Direction::Reply => (Counter::IngressPackets, Counter::IngressBytes, Counter::IngressOffloaded),
    };
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: as in `add`.
        unsafe {
            (*counters)[packets as usize] += 1;
            (*counters)[bytes as usize] += length as u64;
            (*counters)[offloaded as usize] += 1;
        }
    }
}
