//! Remembering packets where they come in, and knowing them again where they leave (see `natbpf_common::path::crossing`).

use aya_ebpf::{bindings::__sk_buff, btf_maps::Array, macros::btf_map};
use natbpf_common::{
    contract::gauge::Gauge,
    flow::{Direction, FlowKey},
    path::crossing::{Contents, Crossing, SLOTS, named, slot},
    wire::{headers::Headers, packet::Packet, protocol::TCP},
};

use crate::{
    memory::{atomic, maps::GAUGES},
    packet::{plain::TRANSPORT, skb::Skb},
};

#[btf_map]
static CROSSINGS: Array<Crossing, { SLOTS as usize }> = Array::new();

/// A plain packet comes in and is left to the kernel.
#[inline(always)]
pub fn enter(skb: &mut Skb<'_>, direction: Direction, frame: u64, epoch: u16) {
    write(skb.raw(), direction as u32, frame, epoch as u32);
}

/// Not inlined, and reading the headers once more, for the stack of its callers.
#[inline(never)]
fn write(skb: *mut __sk_buff, direction: u32, frame: u64, epoch: u32) {
    let skb = &mut Skb::of(skb);
    let Some(headers) = Headers::plain(skb) else { return };
    let direction =
        if direction == Direction::Original as u32 { Direction::Original } else { Direction::Reply };
    let key = FlowKey::of(&headers, direction);
    let Some(claims) = GAUGES.get_ptr_mut(Gauge::Crossings as u32) else { return };
    // Never 0, which says that there is none.
    let claim = atomic::fetch_add(claims, 1).wrapping_add(1);
    let slot = slot(claim);
    let Some(crossing) = CROSSINGS.get_ptr_mut(slot) else { return };
    let contents = contents(skb, &headers, 1);
    // SAFETY: projections. Whoever reads looks at the claim before and after; see `leave`.
    unsafe {
        atomic::store(&raw mut (*crossing).claim, 0);
        (&raw mut (*crossing).key).write_volatile(key);
        (&raw mut (*crossing).frame).write_volatile(frame);
        (&raw mut (*crossing).contents).write_volatile(contents);
        (&raw mut (*crossing).interface).write_volatile(skb.interface());
        (&raw mut (*crossing).epoch).write_volatile(epoch);
        atomic::store(&raw mut (*crossing).claim, claim);
    }
    skb.set_tc_index(slot as u16 + 1);
}

/// By which frame a packet came in.
pub struct Origin {
    pub interface: u32,
    pub frame: u64,
}

/// A packet leaves, which had this key where it came in. `None`: it is none that was remembered, or has been changed on its way by more than
/// one hop and a translation. Each is found once.
#[inline(always)]
pub fn leave(skb: &Skb<'_>, headers: &Headers, key: &FlowKey, epoch: u16) -> Option<Origin> {
    let crossing = CROSSINGS.get_ptr_mut(named(skb.tc_index())?)?;
    // SAFETY: projections. What is read is believed if the claim is the same afterwards: who writes takes it away first.
    unsafe {
        let claim = atomic::load(&raw const (*crossing).claim);
        if claim == 0
            || (&raw const (*crossing).key).read_volatile() != *key
            || (&raw const (*crossing).contents).read_volatile() != contents(skb, headers, 0)
            || (&raw const (*crossing).epoch).read_volatile() != epoch as u32
        {
            return None;
        }
        let interface = (&raw const (*crossing).interface).read_volatile();
        let frame = (&raw const (*crossing).frame).read_volatile();
        if atomic::swap(&raw mut (*crossing).claim, claim, 0) {
            Some(Origin { interface, frame })
        } else {
            None
        }
    }
}

/// What has to be the same where the packet leaves. `hops`: routers that are still to come.
#[inline(always)]
fn contents(skb: &Skb<'_>, headers: &Headers, hops: u8) -> Contents {
    // Of plain packets, which alone come by here, the offset is known beforehand.
    let first = match skb.view::<16>(TRANSPORT as u32) {
        Some(view) if headers.protocol == TCP => [view.u32::<4>(), view.u32::<8>()],
        Some(view) => [view.u32::<8>(), view.u32::<12>()],
        // Not in the linear part, here and there alike; or there is no payload.
        None => [0; 2],
    };
    Contents::of(headers, first, hops)
}
