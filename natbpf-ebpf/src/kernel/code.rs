//! What global functions return: numbers, since they can return nothing else. Each function has its own for what becomes of a packet; those to
//! drop it for a reason are the same for all.

use natbpf_common::contract::counter::Counter;

/// All numbers below are free for a function's own.
const FIRST: u32 = 16;

#[inline(always)]
pub const fn drop(reason: Counter) -> u32 {
    FIRST + reason as u32
}

/// The reason that a number stands for which is none of the function's own.
#[inline(always)]
pub const fn reason(number: u32) -> Counter {
    match Counter::from_number(number.wrapping_sub(FIRST) as usize) {
        Some(reason) => reason,
        None => Counter::Busy,
    }
}
