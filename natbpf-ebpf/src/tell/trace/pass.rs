//! A packet on its way through a program that is traced.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    btf_maps::{PerCpuArray, RingBuf},
    helpers::generated::{
        bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    macros::btf_map,
};
use natbpf_common::{
    IfIndex,
    contract::{
        counter::Counter,
        trace::{HEAD, Passing, REPLAYED, Request, Sight, Spot},
    },
    time::Timestamp,
};

use super::{
    asked::{self, request},
    buffer::Buffer,
    filter,
};
use crate::{kernel::clock, memory::maps::COUNTERS};

/// By slot.
#[btf_map]
static PASSING: PerCpuArray<Passing, { Spot::SLOTS }> = PerCpuArray::new();

/// [`Sight`]s, each with bytes of its packet behind it.
#[btf_map]
static SIGHTS: RingBuf<(), { 1 << 21 }> = RingBuf::new();

/// Whoever reads looks by itself now and then: to be woken costs more than all the rest.
const QUIETLY: u64 = BPF_RB_NO_WAKEUP as u64;

/// A record has room for so many bytes of a packet, since its size must be known beforehand.
const MORE: usize = 2048;
const MOST: usize = 1 << 16;

/// Where the kernel has the context in which packets are redirected, in its `task_struct`, and in that the index of the
/// device; user space finds it in the kernel's description of its types. 0: not known, or not to be read.
#[unsafe(no_mangle)]
static REDIRECT_CONTEXT: u32 = 0;
#[unsafe(no_mangle)]
static REDIRECT_TARGET: u32 = 0;

/// Passages of copies are numbered apart.
const COPIES: u64 = 1 << 39;

#[repr(C)]
struct Record<const ROOM: usize> {
    sight: Sight,
    bytes: [u8; ROOM],
}

#[inline(always)]
pub fn before(buffer: &impl Buffer, spot: u32) -> Option<()> {
    let request = request()?;
    let slot = asked::slot(spot);
    // SAFETY: the value belongs to this processor, and no two packets have one slot there at a time.
    let passing = unsafe { &mut *PASSING.get_ptr_mut(slot)? };
    passing.is_looked_at = 0;
    // SAFETY: user space writes there; words are read whole, and all but this one stay while it is traced.
    let request = unsafe {
        if (&raw const (*request).until).read_volatile() <= clock::now().number() {
            asked::stop();
            return None;
        }
        &*request
    };
    let sight = &mut passing.before;
    buffer.describe(sight);
    if !request.interface.is_none() && request.interface != sight.interface {
        return None;
    }
    sight.passage = (sight.passage + 1) | if slot == spot { 0 } else { COPIES };
    sight.spot = spot;
    // SAFETY: plain helpers.
    unsafe {
        sight.time = Timestamp::new(bpf_ktime_get_ns());
        sight.cpu = bpf_get_smp_processor_id() as u32;
    }
    let counters = COUNTERS.get_ptr(0)?.cast::<u64>();
    let kept = (&raw mut passing.counters).cast::<u64>();
    for index in 0..Counter::COUNT {
        // Volatile, or LLVM would copy byte by byte.
        // SAFETY: inside.
        unsafe { kept.add(index).write_volatile(counters.add(index).read_volatile()) };
    }
    passing.is_looked_at = 1;
    passing.is_shown = matches(request, buffer) as u64;
    if passing.is_shown != 0 {
        let captured = least(passing.before.length, request.snaplen);
        passing.lost += write(buffer, &passing.before, captured);
    } else {
        keep_head(buffer, passing);
    }
    Some(())
}

#[inline(always)]
pub fn after(buffer: &impl Buffer, spot: u32, verdict: u32) -> Option<()> {
    // SAFETY: as above.
    let passing = unsafe { &mut *PASSING.get_ptr_mut(asked::slot(spot))? };
    if passing.is_looked_at == 0 {
        return None;
    }
    passing.is_looked_at = 0;
    // SAFETY: as above.
    let request = unsafe { &*request()? };
    if passing.is_shown == 0 {
        if !matches(request, buffer) {
            return None;
        }
        passing.lost += write_before(passing);
    }
    let counters = COUNTERS.get_ptr(0)?.cast::<u64>();
    let kept = (&raw const passing.counters).cast::<u64>();
    let mut counted = 0;
    for index in 0..Counter::COUNT {
        // SAFETY: inside.
        let more =
            unsafe { counters.add(index).read_volatile().wrapping_sub(kept.add(index).read_volatile()) };
        // Without a branch, which the verifier would follow both ways.
        counted |= ((more | more.wrapping_neg()) >> 63) << index;
    }
    // The value of the map again, for the stack.
    let sight = &mut passing.before;
    buffer.describe(sight);
    // SAFETY: a plain helper.
    sight.time = Timestamp::new(unsafe { bpf_ktime_get_ns() });
    let replayed = asked::was_replayed();
    // What the copies have counted is theirs.
    sight.counted = if replayed { 0 } else { counted };
    sight.after = 1;
    sight.verdict = if replayed { REPLAYED } else { verdict as i32 };
    sight.target = target();
    let lost = write(buffer, sight, least(sight.length, request.snaplen));
    (sight.counted, sight.after, sight.verdict, sight.target) = (0, 0, 0, IfIndex::NONE);
    passing.lost += lost;
    Some(())
}

/// Whether the packet is asked for, as it is now.
#[inline(always)]
fn matches(request: &Request, buffer: &impl Buffer) -> bool {
    request.filter.asks == 0 || request.filter.matches(&filter::tuple(buffer))
}

/// Keeps the first bytes, in case that the packet is asked for as it is after the program.
#[inline(always)]
fn keep_head(buffer: &impl Buffer, passing: &mut Passing) {
    let length = least(passing.before.length, HEAD as u32);
    passing.before.captured = head(buffer, (&raw mut passing.head).cast(), length, HEAD as u32);
}

/// Shows the packet as it was before the program, of which no more than the first bytes are left. Returns how often
/// that was lost.
#[inline(always)]
fn write_before(passing: &Passing) -> u64 {
    let Some(mut slot) = SIGHTS.reserve_untyped::<Record<HEAD>>(0) else { return 1 };
    let record: *mut Record<HEAD> = slot.as_mut_ptr();
    // SAFETY: the slot is as large, and nobody sees it before it is submitted.
    unsafe {
        copy::<{ size_of::<Sight>() }>((&raw const passing.before).cast(), (&raw mut (*record).sight).cast());
        copy::<HEAD>((&raw const passing.head).cast(), (&raw mut (*record).bytes).cast());
    }
    slot.submit(QUIETLY);
    0
}

/// Shows the packet, so many bytes of it. Returns how often that was lost.
#[inline(always)]
fn write(buffer: &impl Buffer, sight: &Sight, captured: u32) -> u64 {
    if captured <= HEAD as u32 {
        write_record::<HEAD>(buffer, sight, captured)
    } else if captured <= MORE as u32 {
        write_record::<MORE>(buffer, sight, captured)
    } else {
        write_record::<MOST>(buffer, sight, captured)
    }
}

#[inline(always)]
fn write_record<const ROOM: usize>(buffer: &impl Buffer, sight: &Sight, captured: u32) -> u64 {
    let Some(mut slot) = SIGHTS.reserve_untyped::<Record<ROOM>>(0) else { return 1 };
    let record: *mut Record<ROOM> = slot.as_mut_ptr();
    // SAFETY: as above.
    unsafe {
        copy::<{ size_of::<Sight>() }>(core::ptr::from_ref(sight).cast(), (&raw mut (*record).sight).cast());
        (*record).sight.captured = head(buffer, (&raw mut (*record).bytes).cast(), captured, ROOM as u32);
    }
    slot.submit(QUIETLY);
    0
}

/// Copies so many bytes from the beginning of a packet to where there is this room. Returns how many were copied.
#[inline(always)]
fn head(buffer: &impl Buffer, to: *mut u8, length: u32, room: u32) -> u32 {
    let last = length.wrapping_sub(1);
    // A volatile read, or LLVM leaves the check out, from which the verifier learns the bounds.
    // SAFETY: a local variable.
    let last = unsafe { (&raw const last).read_volatile() };
    if last < room && buffer.head(to, last + 1) { last + 1 } else { 0 }
}

/// Copies bytes, word by word: LLVM would do it byte by byte.
///
/// # Safety
/// Both places have this length, which is one in words, and are theirs alone.
#[inline(always)]
unsafe fn copy<const LENGTH: usize>(from: *const u64, to: *mut u64) {
    for index in 0..LENGTH / size_of::<u64>() {
        // SAFETY: inside, as the caller says.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}

/// The device that the processor redirected a packet to last (`bpf_redirect_info`).
#[inline(always)]
fn target() -> IfIndex {
    // SAFETY: constants of the loaded program. So the verifier leaves out what follows where it may not be done.
    let (at, target) = unsafe {
        ((&raw const REDIRECT_CONTEXT).read_volatile(), (&raw const REDIRECT_TARGET).read_volatile())
    };
    if at == 0 {
        return IfIndex::NONE;
    }
    // SAFETY: a plain helper.
    let task = unsafe { bpf_get_current_task() };
    let context: u64 = read(task + at as u64);
    if context == 0 {
        return IfIndex::NONE;
    }
    IfIndex::new(read(context + target as u64))
}

/// A word of the kernel's memory; 0: it cannot be read.
#[inline(always)]
fn read<T: Default>(from: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper reads any address, or says that it cannot.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, from as *const _) };
    value
}

#[inline(always)]
const fn least(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}
