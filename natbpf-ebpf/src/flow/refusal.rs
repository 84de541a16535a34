//! Sources that found no port toward a destination just now: for a moment their packets are refused without
//! another search, which is long.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use natbpf_common::{
    contract::gauge::Gauge,
    flow::FlowKey,
    nat::ports::PortRange,
    siphash::siphash,
    time::{Moment, Timestamp},
};

use crate::{
    kernel::clock,
    memory::{gauges, maps::SETTINGS, shared::Lookup as _},
};

const PLACES: u64 = 1024;

/// How long the answer holds: to the end of the next [`Moment`].
const AGE: u32 = 1;

/// By a keyed hash of source and destination: its upper half, and the moment of the refusal.
#[btf_map]
static REFUSALS: Array<u64, { PLACES as usize }> = Array::new();

/// A search has found nothing.
#[inline(always)]
pub fn note(key: &FlowKey) {
    let (now, hash) = (clock::now(), hash(key));
    if let Some(place) = REFUSALS.shared(place(hash)) {
        place.whole().store(word(hash, now));
    }
    if let Some(last) = gauges::cell(Gauge::Refused) {
        last.store(Moment::of(now).number() as u64);
    }
}

/// Whether a search for such a flow has found nothing a moment ago.
#[inline(always)]
pub fn is_fresh(key: &FlowKey) -> bool {
    let now = Moment::of(clock::now()).number();
    let recent = |moment: u32| now.wrapping_sub(moment) <= AGE;
    if !recent(gauges::read(Gauge::Refused) as u32) {
        return false;
    }
    is_here(key, now)
}

/// Not inlined, for its stack.
#[inline(never)]
fn is_here(key: &FlowKey, now: u32) -> bool {
    let hash = hash(key);
    let Some(place) = REFUSALS.shared(place(hash)) else { return false };
    let word = place.whole().load();
    word >> 32 == hash >> 32 && now.wrapping_sub(word as u32) <= AGE
}

#[inline(always)]
fn word(hash: u64, now: Timestamp) -> u64 {
    (hash & !(u32::MAX as u64)) | Moment::of(now).number() as u64
}

#[inline(always)]
const fn place(hash: u64) -> u32 {
    (hash & (PLACES - 1)) as u32
}

/// A hash of the source's address, the range in which it gets its ports, and what it wants to reach.
#[inline(always)]
fn hash(key: &FlowKey) -> u64 {
    let secret = SETTINGS.get(0).map_or([0; 2], |settings| settings.secret);
    let addresses = key.source.to_wire() as u64 | (key.destination.to_wire() as u64) << 32;
    let range = PortRange::of_class(key.source_port).count() as u64;
    let rest = key.destination_port.to_wire() as u64 | (key.protocol as u64) << 16 | range << 32;
    siphash(secret, [addresses, rest])
}
