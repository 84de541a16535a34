//! A packet comes in that is not repeated: what it looks like is written down, for where it leaves.

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    path::{
        cell::Path,
        frame::{Frame, is_group},
        passage::{Contents, Mark, slot_of},
    },
    wire::{
        family::{V4, V6},
        headers::Headers,
        packet::Packet,
        protocol::TCP,
    },
};

use super::tables::{Draft, Present, Tables, next_claim};
use crate::{
    kernel::global::global,
    memory::shared::cell,
    packet::{arriving::Arriving, skb::Skb},
};

global!(pub fn enter4(skb: *mut __sk_buff) -> () = enter::<V4>);
global!(pub fn enter6(skb: *mut __sk_buff) -> () = enter::<V6>);

/// Takes a slot for the packet that is drawn up, and marks it.
#[inline(always)]
fn enter<F: Tables>(skb: *mut __sk_buff) {
    let skb = &mut Skb::of(skb);
    let Some(Draft { path: Path { key, frame, epoch, .. }, contents, .. }) = F::draft() else { return };
    let Some(claim) = next_claim() else { return };
    let slot = slot_of(claim);
    let Some(passage) = F::passage(slot) else { return };
    // A reader looks at the claim before and after.
    cell!(passage, claim).store(0);
    cell!(passage, left).store(0);
    cell!(passage, key).copy(key);
    cell!(passage, frame).store(*frame);
    cell!(passage, contents).copy(contents);
    cell!(passage, from).store(skb.ethernet().map_or(0, |[_, _, from]| from));
    cell!(passage, epoch).store(*epoch);
    cell!(passage, claim).store(claim);
    skb.set_mark(Mark::of_slot(slot));
}

/// What has to be the same where the packet leaves. Rows F16, B11.
#[inline(always)]
pub fn contents<F: Tables>(skb: &Skb<'_>, headers: &Headers<F>) -> Contents {
    // Of what is not in the linear part, here and there alike: 0.
    let first = match skb.view::<20>(F::TRANSPORT as u32) {
        Some(view) if headers.protocol == TCP => [view.u32::<4>(), view.u32::<8>(), view.u32::<12>()],
        Some(view) if headers.payload >= 20 && headers.protocol != F::ICMP => {
            [view.u32::<8>(), view.u32::<12>(), view.u32::<16>()]
        }
        _ => short(skb, headers),
    };
    Contents {
        first,
        length: headers.transport - headers.network + headers.payload,
        identification: F::identification(skb, headers),
        protocol: headers.protocol,
        service: headers.service,
        time_to_live: headers.time_to_live,
        tcp_header: headers.tcp_header,
    }
}

/// Of an ICMP query; and the whole words of less than three, by the length that the header says: behind it a device may
/// have padded the frame.
#[inline(always)]
fn short<F: Tables>(skb: &Skb<'_>, headers: &Headers<F>) -> [u32; 3] {
    let first = match skb.view::<12>(F::TRANSPORT as u32) {
        Some(view) if headers.payload >= 12 => view.u32::<8>(),
        _ => 0,
    };
    let second = match skb.view::<16>(F::TRANSPORT as u32) {
        Some(view) if headers.payload >= 16 => view.u32::<12>(),
        _ => 0,
    };
    match skb.view::<8>(F::TRANSPORT as u32) {
        Some(view) if headers.protocol == F::ICMP => {
            [(view.u8::<1>() as u32) << 16 | view.u16::<6>() as u32, first, second]
        }
        _ => [first, second, 0],
    }
}

/// The fingerprint of the frame by which a packet comes in; 0: it is one that may be for many.
#[inline(always)]
pub fn fingerprint<P: Arriving, F: Tables>(packet: &P, headers: &Headers<F>, present: &Present) -> u64 {
    match packet.ethernet() {
        Some(ethernet) if !is_group(ethernet[0]) => {
            let (service, time_to_live) = (headers.service, headers.time_to_live);
            let (interface, vlan) = (packet.interface(), packet.vlan());
            let frame = Frame { interface, ethernet, vlan, service, time_to_live };
            frame.fingerprint(&present.repeat.keys[2]) | 1
        }
        _ => 0,
    }
}
