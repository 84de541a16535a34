//! The maps.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, RingBuf},
    macros::btf_map,
};
use natbpf_common::{
    contract::follow::{Buffer, Ends, Orders},
    wire::Address6,
};

#[btf_map]
pub static ORDERS: Array<Orders, 1> = Array::new();

/// The ends of packets that are followed, with their `Part`.
#[btf_map]
pub static FOLLOWED: LruHashMap<Ends, u32, 4096> = LruHashMap::new();

/// Buffers that are on their way, by address.
#[btf_map]
pub static BUFFERS: LruHashMap<u64, Buffer, 4096> = LruHashMap::new();

/// Addresses that ARP and neighbour discovery are told about.
#[btf_map]
pub static ASKED: HashMap<Address6, u32, 256> = HashMap::new();

#[btf_map]
pub static SIGHTS: RingBuf<(), { 1 << 20 }> = RingBuf::new();
