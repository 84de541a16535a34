//! A packet comes in that is not repeated: what it looks like is written down, for where it leaves.

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    path::{
        frame::{Frame, is_group},
        key::PathKey,
        passage::{Contents, Mark, slot_of},
    },
    wire::{
        family::{V4, V6},
        headers::Headers,
        packet::Packet,
        protocol::TCP,
    },
};

use super::tables::{Present, Tables, next_claim, present};
use crate::{
    kernel::global::global,
    memory::shared::cell,
    packet::{arriving::Arriving, skb::Skb},
};

global!(pub fn enter4(skb: *mut __sk_buff) -> () = enter::<V4>);
global!(pub fn enter6(skb: *mut __sk_buff) -> () = enter::<V6>);

/// Takes a slot for the packet, and marks it.
#[inline(always)]
fn enter<F: Tables>(skb: *mut __sk_buff) {
    let skb = &mut Skb::of(skb);
    let Some(headers) = F::plain(skb) else { return };
    let Some(present) = &present() else { return };
    let Some(claim) = next_claim() else { return };
    let slot = slot_of(claim);
    let Some(passage) = F::passage(slot) else { return };
    // A reader looks at the claim before and after.
    cell!(passage, claim).store(0);
    cell!(passage, left).store(0);
    cell!(passage, key).store(PathKey::of(&headers, skb.interface(), skb.vlan()));
    cell!(passage, frame).store(fingerprint(skb, headers.service, present));
    cell!(passage, contents).store(contents(skb, &headers));
    cell!(passage, from).store(skb.ethernet().map_or(0, |[_, _, from]| from));
    cell!(passage, epoch).store(present.epoch);
    cell!(passage, claim).store(claim);
    skb.set_mark(Mark::of_slot(slot));
}

/// What has to be the same where the packet leaves.
#[inline(always)]
pub fn contents<F: Tables>(skb: &Skb<'_>, headers: &Headers<F>) -> Contents {
    // Of what is not in the linear part, here and there alike, or not there at all: 0.
    let first = match skb.view::<20>(F::TRANSPORT as u32) {
        Some(view) if headers.protocol == TCP => [view.u32::<4>(), view.u32::<8>(), view.u32::<12>()],
        Some(view) => [view.u32::<8>(), view.u32::<12>(), view.u32::<16>()],
        None => [0; 3],
    };
    Contents {
        first,
        length: headers.transport - headers.network + headers.payload,
        identification: F::number(headers.identification),
        protocol: headers.protocol,
        service: headers.service,
        time_to_live: headers.time_to_live,
        tcp_header: headers.tcp_header,
    }
}

/// The fingerprint of the frame by which a packet comes in; 0: it is one that may be for many.
#[inline(always)]
pub fn fingerprint<P: Arriving>(packet: &P, service: u8, present: &Present) -> u64 {
    match packet.ethernet() {
        Some(ethernet) if !is_group(ethernet[0]) => {
            let frame = Frame { interface: packet.interface(), ethernet, vlan: packet.vlan(), service };
            frame.fingerprint(&present.repeat.keys[2]) | 1
        }
        _ => 0,
    }
}
