//! A packet on its way through a program that is traced.

use aya_ebpf::{
    btf_maps::{PerCpuArray, PerfEventArray},
    helpers::generated::{
        bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_perf_event_output,
        bpf_probe_read_kernel,
    },
    macros::btf_map,
};
use natbpf_common::{
    IfIndex,
    contract::{
        counter::Counter,
        trace::{HEAD, Passing, Request, Sight, Spot},
    },
    time::Timestamp,
};

use super::{
    asked::{self, request},
    buffer::Buffer,
    filter,
};
use crate::{kernel::clock, memory::maps::COUNTERS};

/// By [`Spot`].
#[btf_map]
static PASSING: PerCpuArray<Passing, { Spot::ALL.len() }> = PerCpuArray::new();

/// [`Sight`]s, each with the bytes of its packet behind it. They go to whoever has opened its buffers, and nowhere when
/// that program has ended.
#[btf_map]
static SIGHTS: PerfEventArray = PerfEventArray::new();

/// `BPF_F_CURRENT_CPU`: the buffer of the processor that this runs on.
const CURRENT_CPU: u64 = 0xffff_ffff;

#[inline(always)]
pub fn before(buffer: &impl Buffer, spot: u32) -> Option<()> {
    let request = request()?;
    // SAFETY: the value belongs to this processor, and no two packets are in one program there at a time.
    let passing = unsafe { &mut *PASSING.get_ptr_mut(spot)? };
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
    sight.passage += 1;
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
        passing.before.captured = least(passing.before.length, request.snaplen);
        passing.lost += write(buffer, &passing.before, passing.before.captured);
    } else {
        keep_head(buffer, passing);
    }
    Some(())
}

#[inline(always)]
pub fn after(buffer: &impl Buffer, spot: u32, verdict: u32) -> Option<()> {
    // SAFETY: as above.
    let passing = unsafe { &mut *PASSING.get_ptr_mut(spot)? };
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
        passing.lost += write_before(buffer, &raw mut passing.before);
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
    sight.counted = counted;
    sight.after = 1;
    sight.verdict = verdict as i32;
    sight.target = target(request);
    sight.captured = least(sight.length, request.snaplen);
    let lost = write(buffer, sight, sight.captured);
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
    let last = least(passing.before.length, HEAD as u32).wrapping_sub(1);
    // A volatile read, or LLVM leaves the check out, from which the verifier learns the bounds.
    // SAFETY: a local variable.
    let last = unsafe { (&raw const last).read_volatile() };
    passing.before.captured = 0;
    if last < HEAD as u32 && buffer.head((&raw mut passing.head).cast(), last + 1) {
        passing.before.captured = last + 1;
    }
}

/// Shows the packet as it was before the program, of which no more than the first bytes are left. Returns how often
/// that was lost.
#[inline(always)]
fn write_before(buffer: &impl Buffer, before: *mut Sight) -> u64 {
    let size = (size_of::<Sight>() + HEAD) as u64;
    // SAFETY: the bytes stand behind it.
    let result = unsafe {
        bpf_perf_event_output(
            buffer.context(),
            (&raw const SIGHTS).cast_mut().cast(),
            CURRENT_CPU,
            before.cast(),
            size,
        )
    };
    (result != 0) as u64
}

/// Shows the packet, so many bytes of it. Returns how often that was lost.
#[inline(always)]
fn write(buffer: &impl Buffer, sight: &Sight, captured: u32) -> u64 {
    let (flags, data) = (CURRENT_CPU | (captured as u64) << 32, core::ptr::from_ref(sight).cast_mut().cast());
    let map = (&raw const SIGHTS).cast_mut().cast();
    // SAFETY: the helper checks the lengths.
    let result =
        unsafe { bpf_perf_event_output(buffer.context(), map, flags, data, size_of::<Sight>() as u64) };
    (result != 0) as u64
}

/// The device that the processor redirected a packet to last (`bpf_redirect_info`).
#[inline(always)]
fn target(request: &Request) -> IfIndex {
    if request.redirect_context == 0 {
        return IfIndex::NONE;
    }
    // SAFETY: a plain helper.
    let task = unsafe { bpf_get_current_task() };
    let context: u64 = read(task + request.redirect_context as u64);
    if context == 0 {
        return IfIndex::NONE;
    }
    IfIndex::new(read(context + request.redirect_target as u64))
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
