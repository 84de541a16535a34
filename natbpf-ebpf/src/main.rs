//! The kernel side of natbpf: TC programs at the uplink that translate, and the reaper that takes old flows
//! out.
//!
//! What can be decided without the kernel is in `natbpf-common`; here are the hooks and what touches packets,
//! maps and sockets.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "BPF has compare-and-swap only as an intrinsic")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod allocate;
mod arp;
mod atomic;
mod clock;
mod code;
mod conntrack;
mod count;
mod create;
mod crossing;
mod early;
mod egress;
mod entry;
mod event;
mod fragment;
mod frame;
mod hairpin;
mod handover;
mod host;
mod icmp;
mod inbound;
mod ingress;
mod mapping;
mod maps;
mod notice;
mod offload;
mod parse;
mod pool;
mod reap;
mod refusal;
mod rules;
mod skb;
mod sockets;
mod stranger;
mod uplink;
mod xdp;

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use natbpf_common::{contract::counter::Counter, path::handover::Purpose};

use crate::skb::Skb;

/// What becomes of a packet that is not dropped.
///
/// As large as a [`Counter`]: then LLVM keeps a [`Handled`] in two registers, and does not pack it into one word together
/// with whatever is in a register that nobody asks for, which may be a pointer.
#[derive(Debug)]
#[repr(u32)]
pub enum Outcome {
    /// It goes on as it came.
    Untouched,
    /// It goes on, translated.
    Translated,
    /// Copies of it and of fragments that came before it are under way in its place.
    Replayed,
    /// It goes elsewhere: a helper was told where.
    Redirected,
    /// It goes elsewhere, as those before it, and has been counted.
    Repeated,
}

/// Every way in which a packet can be handled; the error is the reason to drop it.
pub type Handled = Result<Outcome, Counter>;

/// TC egress of an uplink: everything that leaves. Inlined into what the macro makes of it: Linux 6.1 counts at least 32 bytes of stack
/// for each function.
#[classifier]
#[inline(always)]
pub fn uplink_egress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let purpose = handover::take(&skb);
    if purpose == Some(Purpose::Repeated) {
        return TC_ACT_UNSPEC;
    }
    let handled = egress::handle(&mut skb);
    let handled = if purpose.is_some() { hairpin::at_egress(&skb, handled) } else { handled };
    verdict(&ctx, handled, Counter::EgressPackets, Counter::EgressBytes)
}

/// TC ingress of an uplink: everything that arrives.
#[classifier]
pub fn uplink_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let handled = ingress::handle(&mut skb);
    verdict(&ctx, handled, Counter::IngressPackets, Counter::IngressBytes)
}

/// On no hook: `uplink_egress` goes on with it for packets that are turned round there.
#[classifier]
pub fn uplink_turn(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    verdict(&ctx, hairpin::turn(&mut skb), Counter::IngressPackets, Counter::IngressBytes)
}

/// TC ingress of an inside interface, where hairpinning is on: what instances send.
#[classifier]
pub fn inside_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    verdict(&ctx, hairpin::handle(&mut skb), Counter::HairpinPackets, Counter::HairpinBytes)
}

/// TC ingress of an inside port: what comes from instances.
#[classifier]
pub fn port_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    verdict(&ctx, offload::at_port_ingress(&mut skb), Counter::EgressPackets, Counter::EgressBytes)
}

/// TC egress of an inside port: what goes to instances.
#[classifier]
pub fn port_egress(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    if handover::take(&skb) != Some(Purpose::Repeated) {
        offload::at_port_egress(&mut skb);
    }
    TC_ACT_UNSPEC
}

/// XDP of an inside port: what comes from instances.
#[xdp]
pub fn port_xdp(ctx: XdpContext) -> u32 {
    offload::at_port_xdp(&ctx)
}

/// XDP of an uplink: everything that arrives.
#[xdp]
pub fn uplink_xdp(ctx: XdpContext) -> u32 {
    offload::at_uplink_xdp(&ctx)
}

/// Not attached: user space runs it by `BPF_PROG_TEST_RUN` with a list of keys (see `natbpf_common::contract::reap`).
#[classifier]
pub fn reap(ctx: TcContext) -> i32 {
    reap::handle(&ctx)
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
