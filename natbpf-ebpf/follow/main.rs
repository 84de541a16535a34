//! Programs of `natbpf why`, which are in the kernel only while it runs: they tell where a packet, the answer to it and
//! ICMP errors about it are received, sent, taken and dropped, whatever has been translated meanwhile.
//!
//! A packet is known by its ends, and between two points, where a translation may have changed them, by its buffer.
//! What it has become is noted, so that copies of it and the answer are known, too.
#![no_std]
#![no_main]

mod answer;
mod look;
mod maps;
mod memory;
mod packet;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, raw_tracepoint, xdp},
    programs::{RawTracePointContext, TcContext, XdpContext},
};
use natbpf_common::contract::follow::Point;

use crate::look::{End, look};

#[raw_tracepoint(tracepoint = "netif_receive_skb")]
pub fn received(ctx: RawTracePointContext) -> i32 {
    look(Point::Received, ctx.arg(0), End::default())
}

#[raw_tracepoint(tracepoint = "net_dev_queue")]
pub fn queued(ctx: RawTracePointContext) -> i32 {
    look(Point::Queued, ctx.arg(0), End::default())
}

#[raw_tracepoint(tracepoint = "net_dev_start_xmit")]
pub fn sent(ctx: RawTracePointContext) -> i32 {
    look(Point::Sent, ctx.arg(0), End::default())
}

#[raw_tracepoint(tracepoint = "consume_skb")]
pub fn consumed(ctx: RawTracePointContext) -> i32 {
    look(Point::Consumed, ctx.arg(0), End::default())
}

#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn dropped(ctx: RawTracePointContext) -> i32 {
    look(Point::Dropped, ctx.arg(0), End { location: ctx.arg(1), reason: ctx.arg(2) })
}

/// TC egress of the edge: answers to a probe have come as far as they should.
#[classifier]
pub fn shield(ctx: TcContext) -> i32 {
    if answer::is_answer(ctx.as_ptr().cast()) { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

/// On no hook: a run of it with a frame has a device receive the frame.
#[xdp]
pub fn inject(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Never reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
