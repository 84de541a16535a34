//! Repeating what the host did to the packets before (see `natbpf_common::path`), from edge to edge.
//!
//! | hook of an edge | program | |
//! |---|---|---|
//! | TC ingress | `edge_ingress` | [`follow`] a path, or [`enter`] |
//! | TC egress | `edge_egress` | [`leave`] |
//! | XDP | `edge_xdp` | [`follow`] a path, or let the packet go to TC |

mod enter;
mod follow;
mod leave;
mod tables;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_action},
    btf_maps::ProgramArray,
    helpers::generated::{bpf_redirect, bpf_redirect_peer, bpf_skb_change_type},
    macros::btf_map,
    programs::XdpContext,
};
use natbpf_common::{
    contract::counter::{Counter, DropReason},
    path::{
        cell::PathFlags,
        family::{may_be_repeated, runs},
        handover::Purpose,
        key::PathKey,
        passage::Mark,
    },
    wire::{
        family::{V4, V6},
        packet::Packet as _,
    },
};

use network_types::eth::EtherType;

use self::enter::{enter4, enter6};
use self::tables::{Draft, Tables, present};
use crate::{
    kernel::{clock, global::global},
    packet::{
        arriving::Arriving as _,
        handover,
        skb::Skb,
        verdict::{Handled, Outcome},
        xdp::{self, Frame},
    },
    tell::count,
};

const IPV4: u16 = EtherType::Ipv4 as u16;
const IPV6: u16 = EtherType::Ipv6 as u16;

/// What has become of a packet at an ingress hook.
const LEFT_ALONE: u32 = 0;
const REDIRECTED: u32 = 1;
const DAMAGED: u32 = 2;
const NEW: u32 = 3;
const OVER: u32 = 4;

/// TC ingress of an edge: a packet with an Ethernet header.
#[inline(always)]
pub fn at_ingress(skb: &mut Skb<'_>) -> Handled {
    // The maker of the packet could write anything there.
    skb.set_mark(Mark::NONE);
    let (is_ipv4, is_ipv6) = (skb.is_ipv4(), skb.is_ipv6());
    let answer = if is_ipv4 {
        ingress4(skb.raw())
    } else if is_ipv6 {
        ingress6(skb.raw())
    } else {
        LEFT_ALONE
    };
    match answer {
        REDIRECTED => return Ok(Outcome::Repeated),
        DAMAGED => return Err(DropReason::WriteFailed),
        // One after the other, for the stack.
        NEW if is_ipv4 => enter4(skb.raw()),
        NEW => enter6(skb.raw()),
        OVER if is_ipv4 => end4(),
        OVER => end6(),
        _ => {}
    }
    if is_ipv4 | is_ipv6 {
        count::add(Counter::PacketsLeft);
    }
    Ok(Outcome::Untouched)
}

global!(fn ingress4(skb: *mut __sk_buff) -> u32 = ingress::<V4>);
global!(fn ingress6(skb: *mut __sk_buff) -> u32 = ingress::<V6>);

#[inline(always)]
fn ingress<F: Tables>(skb: *mut __sk_buff) -> u32 {
    try_ingress::<F>(&mut Skb::of(skb)).unwrap_or(LEFT_ALONE)
}

#[inline(always)]
fn try_ingress<F: Tables>(skb: &mut Skb<'_>) -> Option<u32> {
    let present = &present()?;
    let Draft { path: draft, contents, .. } = F::draft()?;
    // Rules have marked it before anybody saw it: they are not known.
    if skb.fwmark() != 0 {
        return None;
    }
    let headers = F::plain(skb)?;
    draft.key = PathKey::of(&headers, skb.interface(), skb.vlan());
    if !may_be_repeated(&headers) {
        return if runs(&headers) { None } else { Some(OVER) };
    }
    draft.frame = enter::fingerprint(skb, &headers, present);
    if draft.frame == 0 {
        return None;
    }
    let Some(path) = follow::find(skb, &headers, draft, present, clock::now()) else {
        draft.epoch = present.epoch;
        *contents = enter::contents(skb, &headers);
        return Some(NEW);
    };
    let length = skb.length();
    if skb.follow(&headers, draft).is_err() {
        return Some(DAMAGED);
    }
    follow::count(path, length);
    count::repeated(draft.flags, length);
    let to = draft.exit.edge;
    // SAFETY: takes no pointers but the context.
    unsafe {
        if draft.flags.intersects(PathFlags::PEER) {
            // It was for another device where it came in; the container would not take it.
            bpf_skb_change_type(skb.raw(), 0);
            bpf_redirect_peer(to.number(), 0);
        } else {
            F::tell(to, &draft.change);
            bpf_redirect(to.number(), 0);
        }
    }
    Some(REDIRECTED)
}

global!(fn end4() -> () = end::<V4>);
global!(fn end6() -> () = end::<V6>);

#[inline(always)]
fn end<F: Tables>() {
    let Some(present) = &present() else { return };
    let Some(draft) = F::draft() else { return };
    follow::end(&mut draft.path, present);
}

/// TC egress of an edge.
#[inline(always)]
pub fn at_egress(skb: &mut Skb<'_>) {
    if handover::take(skb) != Some(Purpose::Repeated) {
        leave(skb);
    }
}

/// A packet leaves by an edge, as it is to be.
#[inline(always)]
pub fn leave(skb: &mut Skb<'_>) {
    let Some(slot) = skb.mark().slot() else { return };
    // Not into the instance's network namespace.
    skb.set_mark(Mark::NONE);
    if skb.is_ipv4() {
        leave::leave4(skb, slot);
    } else if skb.is_ipv6() {
        leave::leave6(skb, slot);
    }
}

/// The program that does it, for one that has no stack left.
#[btf_map]
static LEAVE: ProgramArray<1> = ProgramArray::new();

/// Ends the program with [`leave`], if there is something to be done. Returns if not.
#[inline(always)]
pub fn leave_next(skb: &Skb<'_>) {
    if !skb.mark().is_none() {
        // SAFETY: nothing is left to be done here.
        unsafe { LEAVE.tail_call(skb, 0) };
    }
}

/// XDP of an edge.
#[inline(always)]
pub fn at_xdp(context: &XdpContext) -> u32 {
    let mut packet = Frame::behind_tag(context);
    let done = match packet.ether_type() {
        Some(IPV4) => try_xdp::<V4>(&mut packet),
        Some(IPV6) => try_xdp::<V6>(&mut packet),
        _ => None,
    };
    done.unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn try_xdp<F: Tables>(packet: &mut Frame<'_>) -> Option<u32> {
    let (present, draft) = (&present()?, &mut F::draft()?.path);
    let headers = F::plain(packet)?;
    if !may_be_repeated(&headers) {
        return None;
    }
    draft.key = PathKey::of(&headers, packet.interface(), packet.vlan());
    draft.frame = enter::fingerprint(packet, &headers, present);
    let path = follow::find(packet, &headers, draft, present, clock::now())?;
    if !xdp::redirect(draft.exit.edge) {
        return None;
    }
    let length = packet.length();
    packet.retag(draft.exit.vlan)?;
    if packet.follow(&headers, draft).is_none() {
        count::add(Counter::WriteFailed);
        return Some(xdp_action::XDP_DROP);
    }
    follow::count(path, length);
    count::repeated(draft.flags, length);
    Some(xdp_action::XDP_REDIRECT)
}
