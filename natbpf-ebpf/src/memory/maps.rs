//! The maps: names and layouts are the contract with user space and with the programs of earlier and later
//! versions.

use aya_ebpf::{
    btf_maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use natbpf_common::{
    IfIndex,
    contract::{
        counter::Counters,
        edges::{Edge, MAX_EDGES},
        forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOLS, Pool},
        gauge::Gauge,
        rules::{DestinationKey, Rule, SourceKey},
        settings::Settings,
        uplinks::Uplinks,
    },
    flow::{FlowEntry, FlowKey},
    nat::mapping::{Endpoint, Mapping},
};

/// Both entries of every flow. Preallocated, so that a burst of new flows never waits for memory; not LRU, so
/// that no flow gives way to another. User space sets the real size. The hash has a seed. Rows S20, X12.
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

/// Where the rule of a source depends on the destination.
#[btf_map]
pub static DESTINATIONS: LpmTrie<DestinationKey, Rule, 8192> = LpmTrie::new();

/// External endpoints that lead inside: port forwards and floating addresses.
#[btf_map]
pub static FORWARDS: LpmTrie<ForwardKey, Forward, 8192> = LpmTrie::new();

/// From inside endpoints to the external ones that lead there.
#[btf_map]
pub static REVERSE: LpmTrie<ForwardKey, Forward, 8192> = LpmTrie::new();

/// External addresses: under their uplink those that are not the uplink's own; under 0 all of them.
#[btf_map]
pub static EXTERNALS: HashMap<ExternalKey, External, 8192> = HashMap::new();

#[btf_map]
pub static POOLS: Array<Pool, { MAX_POOLS as usize }> = Array::new();

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// Edges, by interface index.
#[btf_map]
pub static EDGES: HashMap<IfIndex, Edge, { MAX_EDGES as usize }> = HashMap::new();

/// Interfaces that take frames from XDP programs, under their own index.
#[btf_map]
pub static XDP_TARGETS: DevMapHash<{ MAX_EDGES as usize }> = DevMapHash::new();

/// By [`Gauge`].
#[btf_map]
pub static GAUGES: Array<u64, { Gauge::COUNT as usize }> = Array::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// [`Notice`](natbpf_common::contract::notice::Notice)s.
#[btf_map]
pub static NOTICES: RingBuf<(), { 1 << 18 }> = RingBuf::new();

/// [`FlowEvent`](natbpf_common::contract::event::FlowEvent)s, written only while somebody watches. (The type is not
/// named here: libbpf refuses ring buffers that have one.)
#[btf_map]
pub static EVENTS: RingBuf<(), { 1 << 20 }> = RingBuf::new();
