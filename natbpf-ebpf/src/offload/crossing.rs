//! Remembering packets where they come in, and knowing them again where they leave (see
//! `natbpf_common::path::crossing`).

use aya_ebpf::{bindings::__sk_buff, btf_maps::Array, macros::btf_map};
use natbpf_common::{
    IfIndex,
    contract::gauge::Gauge,
    flow::{Direction, FlowKey},
    path::crossing::{Contents, Crossing, Mark, SLOTS, slot},
    wire::{headers::Headers, packet::Packet, protocol::TCP},
};

use crate::{
    memory::{
        gauges,
        shared::{Lookup as _, cell},
    },
    packet::{plain::TRANSPORT, skb::Skb},
};

#[btf_map]
static CROSSINGS: Array<Crossing, { SLOTS as usize }> = Array::new();

/// A plain packet comes in and is left to the kernel.
#[inline(always)]
pub fn enter(skb: &mut Skb<'_>, direction: Direction, frame: u64, epoch: u16) {
    remember(skb.raw(), direction as u32, frame, epoch as u32);
}

/// Not inlined, and reading the headers once more, for the stack of its callers.
#[inline(never)]
fn remember(skb: *mut __sk_buff, direction: u32, frame: u64, epoch: u32) {
    let skb = &mut Skb::of(skb);
    let Some(headers) = Headers::plain(skb) else { return };
    let direction =
        if direction == Direction::Original as u32 { Direction::Original } else { Direction::Reply };
    let key = FlowKey::of(&headers, direction);
    let Some(claims) = gauges::cell(Gauge::Crossings) else { return };
    // Never 0, which says that there is none.
    let claim = claims.add(1).wrapping_add(1);
    let slot = slot(claim);
    let Some(crossing) = CROSSINGS.shared(slot) else { return };
    let contents = contents(skb, &headers, 1);
    // A reader looks at the claim before and after; see `leave`.
    cell!(crossing, claim).store(0);
    cell!(crossing, key).store(key);
    cell!(crossing, frame).store(frame);
    cell!(crossing, contents).store(contents);
    cell!(crossing, interface).store(skb.interface());
    cell!(crossing, epoch).store(epoch);
    cell!(crossing, claim).store(claim);
    skb.set_mark(Mark::of_slot(slot));
}

/// By which frame a packet came in.
pub struct Origin {
    pub interface: IfIndex,
    pub frame: u64,
}

/// A packet leaves, which had this key where it came in. `None`: it is none that was remembered, or has been
/// changed on its way by more than one hop and a translation. Each is found once.
#[inline(always)]
pub fn leave(skb: &Skb<'_>, headers: &Headers, key: &FlowKey, epoch: u16) -> Option<Origin> {
    let crossing = CROSSINGS.shared(skb.mark().slot()?)?;
    // What is read is believed if the claim is the same afterwards: a writer takes it away first.
    let claim = cell!(crossing, claim).load();
    if claim == 0
        || cell!(crossing, key).load() != *key
        || cell!(crossing, contents).load() != contents(skb, headers, 0)
        || cell!(crossing, epoch).load() != epoch as u32
    {
        return None;
    }
    let origin =
        Origin { interface: cell!(crossing, interface).load(), frame: cell!(crossing, frame).load() };
    if cell!(crossing, claim).swap(claim, 0) { Some(origin) } else { None }
}

/// What has to be the same where the packet leaves. `hops`: routers that are still to come.
#[inline(always)]
fn contents(skb: &Skb<'_>, headers: &Headers, hops: u8) -> Contents {
    // Only plain packets come by here, whose offset is known beforehand.
    let first = match skb.view::<16>(TRANSPORT as u32) {
        Some(view) if headers.protocol == TCP => [view.u32::<4>(), view.u32::<8>()],
        Some(view) => [view.u32::<8>(), view.u32::<12>()],
        // Not in the linear part, here and there alike; or there is no payload.
        None => [0; 2],
    };
    Contents::of(headers, first, hops)
}
