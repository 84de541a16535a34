//! What is asked for, and which packets are looked at.

use aya_ebpf::{
    btf_maps::Array,
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
    macros::btf_map,
};
use natbpf_common::contract::trace::{Request, Spot};

#[btf_map]
static TRACE: Array<Request, 1> = Array::new();

/// One in so many packets is looked at; 0: none. In a section of its own, which is a map of its own, and not in
/// [`TRACE`]: a program reads it by its address.
#[unsafe(link_section = ".data.TRACED")]
static mut TRACED: u32 = 0;

/// More processors share a lane, and count too little now and then.
const LANES: usize = 256;

/// Of one processor: a line of its cache, of which no other knows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lane {
    /// By [`Spot`]: so many packets until one is looked at.
    left: [u32; Spot::ALL.len()],
    /// By slot: whether the packet in the program is.
    looks: [u32; Spot::SLOTS],
    /// `uplink_egress` runs within itself, for a copy.
    copies: u32,
    /// The packet in the program has gone on as copies.
    replayed: u32,
}

const _: () = assert!(size_of::<Lane>() == 64);

static mut WAITING: [Lane; LANES] =
    [Lane { left: [0; Spot::ALL.len()], looks: [0; Spot::SLOTS], copies: 0, replayed: 0 }; LANES];

/// What is asked for; a pointer, as user space writes there.
#[inline(always)]
pub fn request() -> Option<*mut Request> {
    TRACE.get_ptr_mut(0)
}

/// Whether this packet, which comes to a program, is to be looked at.
#[inline(always)]
pub fn begins(spot: Spot) -> bool {
    let period = period();
    if period == 0 {
        return false;
    }
    let lane = lane();
    let slot = slot(spot as u32) as usize;
    // SAFETY: words of this processor, read and written whole.
    unsafe {
        let left = &raw mut (*lane).left[spot as usize];
        let looks = &raw mut (*lane).looks[slot];
        let before = left.read_volatile();
        // One that a longer period has left does not count.
        if before > 1 && before as u64 <= 2 * period as u64 {
            left.write_volatile(before - 1);
            // A trace that ended while a packet was in the program has left it so.
            looks.write_volatile(0);
            return false;
        }
        // By chance, one in a period on average: packets come by turns, as those of the two directions do, and one
        // in an even number would always be of the same kind.
        left.write_volatile(1 + (bpf_get_prandom_u32() as u64 % (2 * period as u64 - 1)) as u32);
        looks.write_volatile(1);
        (&raw mut (*lane).replayed).write_volatile(0);
    }
    true
}

/// Whether it was when it came.
#[inline(always)]
pub fn ends(spot: Spot) -> bool {
    if period() == 0 {
        return false;
    }
    let lane = lane();
    let slot = slot(spot as u32) as usize;
    // SAFETY: as above.
    unsafe {
        let looks = &raw mut (*lane).looks[slot];
        if looks.read_volatile() == 0 {
            return false;
        }
        looks.write_volatile(0);
    }
    true
}

/// Where a packet in the program of this spot is remembered.
#[inline(always)]
pub fn slot(spot: u32) -> u32 {
    // SAFETY: as above.
    if spot == Spot::UplinkEgress as u32 && unsafe { (&raw const (*lane()).copies).read_volatile() } != 0 {
        return Spot::COPY as u32;
    }
    spot
}

/// `uplink_egress` begins to run within itself, or has done so.
#[inline(always)]
pub fn copies(runs: bool) {
    // SAFETY: as above.
    unsafe { (&raw mut (*lane()).copies).write_volatile(runs as u32) };
}

/// The packet in the program has gone on as copies.
#[inline(always)]
pub fn replayed() {
    // SAFETY: as above.
    unsafe { (&raw mut (*lane()).replayed).write_volatile(1) };
}

#[inline(always)]
pub fn was_replayed() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const (*lane()).replayed).read_volatile() != 0 }
}

/// Whoever asked has gone.
#[inline(always)]
pub fn stop() {
    // SAFETY: a word is written whole.
    unsafe { (&raw mut TRACED).write_volatile(0) };
}

#[inline(always)]
fn period() -> u32 {
    // SAFETY: a word is read whole.
    unsafe { (&raw const TRACED).read_volatile() }
}

#[inline(always)]
fn lane() -> *mut Lane {
    // SAFETY: a plain helper.
    let processor = unsafe { bpf_get_smp_processor_id() } as usize;
    // SAFETY: inside.
    unsafe { (&raw mut WAITING).cast::<Lane>().add(processor % LANES) }
}
