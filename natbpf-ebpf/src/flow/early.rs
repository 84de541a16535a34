//! Early drop: when the flow table is full, flows that do not run give way to new ones, as netfilter's
//! `early_drop` has it. Which these are says `natbpf_common::flow::step::gives_way`.

use aya_ebpf::{
    btf_maps::Array,
    helpers::generated::{bpf_get_prandom_u32, bpf_loop},
    macros::btf_map,
};
use natbpf_common::{
    Address,
    contract::{counter::Counter, gauge::Gauge},
    flow::{FlowKey, life::Life, step::gives_way},
};

use crate::{
    flow::{
        entry::{Entry, timeout},
        reap,
    },
    kernel::{clock, global::global},
    memory::{gauges, shared::Lookup as _},
    tell::count,
};

/// How many of the flows that began last can be remembered; a power of two. User space makes the table longer
/// where there may be more flows.
const REMEMBERED: u32 = 1 << 15;

/// The length of the table less one, which user space sets.
#[unsafe(no_mangle)]
static LATEST_MASK: u32 = REMEMBERED - 1;

/// How many of them are looked at for one packet.
const LOOKS: u32 = 16;

/// The flows that began last, of the original direction, in a ring.
#[btf_map]
static LATEST: Array<FlowKey, { REMEMBERED as usize }> = Array::new();

/// How many are remembered, less one.
#[inline(always)]
fn mask() -> u32 {
    // SAFETY: a constant of the loaded program.
    unsafe { (&raw const LATEST_MASK).read_volatile() }
}

/// A flow has begun.
#[inline(always)]
pub fn remember(key: &FlowKey) {
    let Some(begun) = gauges::cell(Gauge::Begun) else { return };
    let number = begun.add(1);
    if let Some(place) = LATEST.shared(number as u32 & mask()) {
        // A key that is read half written is no flow's.
        place.whole().store(*key);
    }
}

/// What the steps share.
struct Room {
    made: u32,
}

global!(pub fn make_room() -> bool = make_room_inner);

/// Takes out a flow that does not run, the oldest ones first. False: there is none at hand.
#[inline(always)]
fn make_room_inner() -> bool {
    let mut room = Room { made: 0 };
    let body: unsafe extern "C" fn(u64, *mut Room) -> i64 = look_at_one;
    // SAFETY: `look_at_one` gets the pointer to `room` while this waits.
    unsafe {
        bpf_loop(LOOKS, body as *mut _, (&raw mut room).cast(), 0);
        (&raw const room.made).read_volatile() != 0
    }
}

global!(pub fn make_room_of(source: u32) -> bool = make_room_of_inner);

/// What the steps share.
struct RoomOf {
    source: Address,
    place: u32,
    made: u32,
}

/// The same among the flows of one source, an [`Address`], some of those that began last.
#[inline(always)]
fn make_room_of_inner(source: u32) -> bool {
    // SAFETY: takes no pointers.
    let place = unsafe { bpf_get_prandom_u32() };
    let mut room = RoomOf { source: Address::from_wire(source), place, made: 0 };
    let body: unsafe extern "C" fn(u64, *mut RoomOf) -> i64 = look_at_one_of;
    // SAFETY: as in `make_room`.
    unsafe {
        bpf_loop(LOOKS, body as *mut _, (&raw mut room).cast(), 0);
        (&raw const room.made).read_volatile() != 0
    }
}

unsafe extern "C" fn look_at_one_of(_: u64, room: *mut RoomOf) -> i64 {
    // SAFETY: `make_room_of` owns it and waits.
    let room = unsafe { &mut *room };
    // Far apart, so that each packet looks at others.
    room.place = room.place.wrapping_mul(0x915f_77f5).wrapping_add(0x9e37_79b9);
    // The upper bits, which are the better ones.
    let Some(place) = LATEST.shared((room.place >> 7) & mask()) else { return 1 };
    let key = place.whole().load();
    if key.source != room.source || !drop_idle(&key, true) {
        return 0;
    }
    room.made = 1;
    1
}

/// One step of the kernel's loop; 1 ends it.
unsafe extern "C" fn look_at_one(_: u64, room: *mut Room) -> i64 {
    let (Some(begun), Some(looked)) = (gauges::cell(Gauge::Begun), gauges::cell(Gauge::LookedAt)) else {
        return 1;
    };
    let newest = begun.load();
    let before = looked.load();
    // One after the other of those that are remembered, and then from the beginning: what runs now may not later.
    let oldest = newest.saturating_sub(mask() as u64 + 1);
    let number = if before > oldest && before < newest { before } else { oldest };
    if number >= newest {
        return 1;
    }
    if !looked.swap(before, number + 1) {
        return 0;
    }
    let Some(place) = LATEST.shared(number as u32 & mask()) else { return 1 };
    let key = place.whole().load();
    if !drop_idle(&key, false) {
        return 0;
    }
    // SAFETY: `make_room` owns it and waits.
    unsafe { (*room).made = 1 };
    1
}

/// Whether a flow gives way to another one, of its own source or not, and has been taken out. At once: if
/// another processor is sending one of its packets at this very moment, and the element is given to another
/// flow before that is done, the tag beside the rewrite tells.
#[inline(always)]
fn drop_idle(key: &FlowKey, own: bool) -> bool {
    let Some(entry) = Entry::find(key) else { return false };
    let (life, status, now) = (entry.life(), entry.status(), clock::now());
    let idle = match Life::from_word(life) {
        Life::Live(seen) => {
            !reap::is_repeated(key, entry, now) && gives_way(status, now.since(seen), timeout(status), own)
        }
        Life::Dying(_) | Life::Killed(_) => true,
        Life::Busy | Life::Gone => false,
    };
    if !idle || status.host() || !entry.swap_life(life, Life::Gone.to_word()) {
        return false;
    }
    if !reap::remove(key, entry) {
        // It is another flow's by now, which goes on.
        entry.swap_life(Life::Gone.to_word(), life);
        return false;
    }
    count::add(Counter::FlowsDroppedEarly);
    true
}
