//! The maps: names and layouts are the contract with user space and with the programs of earlier and later
//! versions.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use natbpf_common::{
    config::{ExceptKey, Gauge, Rule, Settings, SourceKey, Uplinks},
    counter::Counters,
    flow::{FlowEntry, FlowKey},
    mapping::{Endpoint, Mapping},
};

/// Both entries of every flow. Preallocated, so that a burst of new flows never waits for memory; not LRU, so
/// that no flow gives way to another. User space sets the real size.
#[btf_map]
pub static FLOWS: HashMap<FlowKey, FlowEntry, 1024> = HashMap::new();

/// Endpoint-independent mappings. User space sets the real size.
#[btf_map]
pub static MAPPINGS: HashMap<Endpoint, Mapping, 1024> = HashMap::new();

#[btf_map]
pub static UPLINKS: Array<Uplinks, 2> = Array::new();

/// Masqueraded sources.
#[btf_map]
pub static SOURCES: LpmTrie<SourceKey, Rule, 4096> = LpmTrie::new();

/// Destinations left alone.
#[btf_map]
pub static EXCEPTS: LpmTrie<ExceptKey, u32, 4096> = LpmTrie::new();

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// By [`Gauge`].
#[btf_map]
pub static GAUGES: Array<u64, { Gauge::COUNT as usize }> = Array::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// [`FlowEvent`](natbpf_common::event::FlowEvent)s, written only while somebody watches. (The type is not
/// named here: libbpf refuses ring buffers that have one.)
#[btf_map]
pub static EVENTS: RingBuf<(), { 1 << 20 }> = RingBuf::new();
