//! Sending a first fragment round again, and after it those that came before it.
//!
//! No program can make a packet; what it can do is to send copies of the one it has. So the first fragment is
//! sent to its own device as it is, then it is turned into each of the others. All of them come by the hook
//! again, and now their datagram is known. At egress that happens at once, inside the call; at ingress when
//! this packet is done with.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{bpf_clone_redirect, bpf_loop, bpf_skb_change_tail, bpf_skb_store_bytes},
};
use natbpf_common::{
    IfIndex,
    contract::counter::Counter,
    nat::fragment::{DatagramKey, LONGEST},
    wire::headers::Headers,
};

use super::{datagram::Known, keep::Occupied};
use crate::{
    kernel::global::global,
    packet::handover,
    tell::{count, trace},
};

/// What the steps need.
struct Replay {
    skb: *mut __sk_buff,
    key: DatagramKey,
    network: u32,
    /// The buffer cannot be made shorter.
    shortest: u32,
}

global!(pub fn replay_kept(skb: *mut __sk_buff, headers: &Headers, interface: IfIndex, direction: u32, kept: u32) -> bool = replay_kept_inner);

/// The packet and those that were kept, so many, are sent round. Row U27.
#[inline(always)]
fn replay_kept_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    direction: u32,
    kept: u32,
) -> bool {
    let key = DatagramKey::of(headers, interface, direction);
    if !send(skb, &key) {
        return false;
    }
    let mut replay = Replay { skb, key, network: headers.network, shortest: headers.transport };
    let body: unsafe extern "C" fn(u64, *mut Replay) -> i64 = replay_one;
    // SAFETY: `replay_one` gets the pointer to `replay` while this waits.
    unsafe { bpf_loop(kept, body as *mut _, (&raw mut replay).cast(), 0) };
    trace::replayed();
    true
}

/// Sends a copy of the packet round. False: the kernel refuses.
#[inline(always)]
fn send(skb: *mut __sk_buff, key: &DatagramKey) -> bool {
    let flags = if key.leaves() { 0 } else { BPF_F_INGRESS as u64 };
    // At egress the program runs inside the call: a copy of a packet that is turned round is turned round, too.
    let said = handover::read();
    trace::copies(key.leaves());
    // SAFETY: the context is valid. What is above zero is the verdict of others.
    let sent = unsafe { bpf_clone_redirect(skb, key.uplink.number(), flags) >= 0 };
    trace::copies(false);
    handover::write(said);
    sent
}

/// One step of the kernel's loop.
unsafe extern "C" fn replay_one(index: u64, replay: *mut Replay) -> i64 {
    // SAFETY: `replay_kept` owns it and waits.
    let replay = unsafe { &*replay };
    // Looked up each time: it may have become whole, and been forgotten.
    let Some(known) = Known::find(&replay.key) else { return 1 };
    let number = known.number(index as u32);
    if number == 0 {
        return 0;
    }
    let Some(occupied) = Occupied::place(number) else { return 0 };
    let Some(place) = occupied.take(&replay.key) else { return 0 };
    // SAFETY: taken.
    let last = unsafe { (&raw const (*place).length).read_volatile() }.wrapping_sub(1);
    let length = (last & (LONGEST as u32 - 1)) + 1;
    let end = replay.network + length;
    let size = if end < replay.shortest { replay.shortest } else { end };
    // SAFETY: the context is valid, and the place is so long.
    let sent = unsafe {
        bpf_skb_change_tail(replay.skb, size, 0) == 0
            && bpf_skb_store_bytes(
                replay.skb,
                replay.network,
                (&raw const (*place).bytes).cast(),
                length,
                BPF_F_RECOMPUTE_CSUM as u64,
            ) == 0
            && send(replay.skb, &replay.key)
    };
    if !sent && replay.key.leaves() {
        count::add(Counter::FragmentLost);
    }
    occupied.done();
    0
}
