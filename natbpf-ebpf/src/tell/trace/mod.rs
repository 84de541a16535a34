//! Showing packets before and after a program, to whoever asks for them (`natbpf trace`).
//!
//! Nobody asks: then a program reads one word, twice. It does not remember the answer, because the verifier would
//! follow all of the program once for each.

mod asked;
mod buffer;
mod filter;
mod pass;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::XdpContext,
};
use natbpf_common::contract::trace::Spot;

pub use self::asked::{copies, replayed};
use self::{
    asked::{begins, ends},
    buffer::Frame,
    pass::{after as look_after, before as look_before},
};
use crate::{kernel::global::global, packet::skb::Skb};

/// A packet comes to a program of TC.
#[inline(always)]
pub fn before(skb: &Skb<'_>, spot: Spot) {
    if begins(spot) {
        trace_before(skb.raw(), spot as u32);
    }
}

/// It leaves the program with this verdict, which is returned.
#[inline(always)]
pub fn after(skb: &Skb<'_>, spot: Spot, verdict: i32) -> i32 {
    if ends(spot) {
        trace_after(skb.raw(), spot as u32, verdict as u32);
    }
    verdict
}

/// The same of a program of XDP.
#[inline(always)]
pub fn before_xdp(context: &XdpContext) {
    if begins(Spot::EdgeXdp) {
        trace_before_xdp(context.ctx);
    }
}

#[inline(always)]
pub fn after_xdp(context: &XdpContext, verdict: u32) -> u32 {
    if ends(Spot::EdgeXdp) {
        trace_after_xdp(context.ctx, verdict);
    }
    verdict
}

global!(fn trace_before(skb: *mut __sk_buff, spot: u32) -> () = before_tc);
global!(fn trace_after(skb: *mut __sk_buff, spot: u32, verdict: u32) -> () = after_tc);
global!(fn trace_before_xdp(frame: *mut xdp_md) -> () = before_frame);
global!(fn trace_after_xdp(frame: *mut xdp_md, verdict: u32) -> () = after_frame);

#[inline(always)]
fn before_tc(skb: *mut __sk_buff, spot: u32) {
    let _ = look_before(&Skb::of(skb), spot);
}

#[inline(always)]
fn after_tc(skb: *mut __sk_buff, spot: u32, verdict: u32) {
    let _ = look_after(&Skb::of(skb), spot, verdict);
}

#[inline(always)]
fn before_frame(frame: *mut xdp_md) {
    let _ = look_before(&Frame(frame), Spot::EdgeXdp as u32);
}

#[inline(always)]
fn after_frame(frame: *mut xdp_md, verdict: u32) {
    let _ = look_after(&Frame(frame), Spot::EdgeXdp as u32, verdict);
}
