//! What is asked for.

use aya_ebpf::{btf_maps::Array, helpers::generated::bpf_get_prandom_u32, macros::btf_map};
use natbpf_common::contract::trace::Request;

#[btf_map]
static TRACE: Array<Request, 1> = Array::new();

/// How many of 2³² packets are looked at, less one; 0: none. In a section of its own, which is a map of its own, and not
/// in [`TRACE`]: a program reads it by its address.
#[unsafe(link_section = ".data.TRACED")]
static mut TRACED: u32 = 0;

/// What is asked for; a pointer, as user space writes there.
#[inline(always)]
pub fn request() -> Option<*mut Request> {
    TRACE.get_ptr_mut(0)
}

/// Whether anything is.
#[inline(always)]
pub fn is_on() -> bool {
    read() != 0
}

/// Whether anything is, and this packet is one of those that are looked at.
#[inline(always)]
pub fn is_chosen() -> bool {
    let most = read();
    // SAFETY: a plain helper.
    most != 0 && unsafe { bpf_get_prandom_u32() } <= most
}

/// Whoever asked has gone.
#[inline(always)]
pub fn stop() {
    // SAFETY: a word is written whole.
    unsafe { (&raw mut TRACED).write_volatile(0) };
}

#[inline(always)]
fn read() -> u32 {
    // SAFETY: a word is read whole.
    unsafe { (&raw const TRACED).read_volatile() }
}
