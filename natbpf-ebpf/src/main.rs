//! The kernel side of natbpf: TC programs at the uplink that translate, and the reaper that takes old flows
//! out.
//!
//! What can be decided without the kernel is in `natbpf-common`; here are the hooks and what touches packets,
//! maps and sockets.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "BPF has compare-and-swap only as an intrinsic")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod flow;
mod kernel;
mod memory;
mod nat;
mod packet;
mod repeat;
mod tables;
mod tell;

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use natbpf_common::{
    contract::{counter::Counter, trace::Spot},
    path::handover::Purpose,
};

use crate::{
    flow::reap,
    nat::{egress, hairpin, ingress},
    packet::{
        handover,
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    tell::{count, trace},
};

/// TC egress of an uplink: everything that leaves. Inlined into what the macro makes of it: Linux 6.1 counts
/// at least 32 bytes of stack for each function.
#[classifier]
#[inline(always)]
pub fn uplink_egress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    trace::before(&skb, Spot::UplinkEgress);
    let purpose = handover::take(&skb);
    if purpose == Some(Purpose::Repeated) {
        return trace::after(&skb, Spot::UplinkEgress, TC_ACT_UNSPEC);
    }
    let handled = egress::translate(&mut skb);
    let handled = if purpose.is_some() { hairpin::at_egress(&skb, handled) } else { handled };
    let verdict = verdict(&ctx, handled, Counter::EgressPackets, Counter::EgressBytes);
    if verdict == TC_ACT_UNSPEC {
        repeat::leave_next(&skb);
    }
    trace::after(&skb, Spot::UplinkEgress, verdict)
}

/// TC ingress of an uplink: everything that arrives.
#[classifier]
pub fn uplink_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    trace::before(&skb, Spot::UplinkIngress);
    let handled = ingress::translate(&mut skb);
    let verdict = verdict(&ctx, handled, Counter::IngressPackets, Counter::IngressBytes);
    trace::after(&skb, Spot::UplinkIngress, verdict)
}

/// On no hook: `uplink_egress` ends with it for packets that were seen where they came in.
#[classifier]
pub fn leave(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    repeat::leave(&mut skb);
    trace::after(&skb, Spot::UplinkEgress, TC_ACT_UNSPEC)
}

/// On no hook: `uplink_egress` goes on with it for packets that are turned round there.
#[classifier]
pub fn uplink_turn(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let verdict = verdict(&ctx, hairpin::turn(&mut skb), Counter::IngressPackets, Counter::IngressBytes);
    trace::after(&skb, Spot::UplinkEgress, verdict)
}

/// TC ingress of an inside interface, where hairpinning is on: what instances send.
#[classifier]
pub fn inside_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    trace::before(&skb, Spot::InsideIngress);
    let handled = hairpin::at_inside_ingress(&mut skb);
    let verdict = verdict(&ctx, handled, Counter::HairpinPackets, Counter::HairpinBytes);
    trace::after(&skb, Spot::InsideIngress, verdict)
}

/// TC ingress of an edge: what comes in.
#[classifier]
pub fn edge_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    trace::before(&skb, Spot::EdgeIngress);
    let handled = repeat::at_ingress(&mut skb);
    let verdict = verdict(&ctx, handled, Counter::EgressPackets, Counter::EgressBytes);
    trace::after(&skb, Spot::EdgeIngress, verdict)
}

/// TC egress of an edge: what leaves.
#[classifier]
pub fn edge_egress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    trace::before(&skb, Spot::EdgeEgress);
    repeat::at_egress(&mut skb);
    trace::after(&skb, Spot::EdgeEgress, TC_ACT_UNSPEC)
}

/// XDP of an edge: what comes in.
#[xdp]
pub fn edge_xdp(ctx: XdpContext) -> u32 {
    trace::before_xdp(&ctx);
    let verdict = repeat::at_xdp(&ctx);
    trace::after_xdp(&ctx, verdict)
}

/// Not attached: user space runs it by `BPF_PROG_TEST_RUN` with a list of keys (see `natbpf_common::contract::reap`).
#[classifier]
pub fn reap(ctx: TcContext) -> i32 {
    reap::run(&ctx)
}

/// `TC_ACT_UNSPEC` lets the programs after this one decide, on TCX as on clsact.
#[inline(always)]
fn verdict(ctx: &TcContext, handled: Handled, packets: Counter, bytes: Counter) -> i32 {
    match handled {
        Ok(Outcome::Untouched) => TC_ACT_UNSPEC,
        Ok(Outcome::Translated) => {
            count::traffic(packets, bytes, ctx.len());
            TC_ACT_UNSPEC
        }
        // Nothing is lost: the copies come by here.
        Ok(Outcome::Replayed) => TC_ACT_SHOT,
        Ok(Outcome::Redirected) => {
            count::traffic(packets, bytes, ctx.len());
            TC_ACT_REDIRECT
        }
        Ok(Outcome::Repeated) => TC_ACT_REDIRECT,
        // Every drop has one reason. Rows O10, S39.
        Err(reason) => {
            count::dropped(reason);
            TC_ACT_SHOT
        }
    }
}

/// Never reached: a test looks for it in the object.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// Helpers are GPL-only; this is the section in which the kernel looks for the licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
