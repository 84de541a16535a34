//! Asking the kernel's routing tables.

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup,
    },
    helpers::generated,
};
use natbpf_common::{Address, IfIndex};

const AF_INET: u8 = 2;

/// The gateway by which a destination is reached through the packet's device; the destination itself if it is
/// on the link.
///
/// Not inlined: the query is large for the stack, and is over when this returns.
#[inline(never)]
pub fn next_hop(skb: *mut __sk_buff, interface: IfIndex, destination: u32) -> u32 {
    // SAFETY: integers and unions of integers.
    let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    query.family = AF_INET;
    query.ifindex = interface.number();
    query.__bindgen_anon_4.ipv4_dst = destination;
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context and the query are valid.
    let result =
        unsafe { generated::bpf_fib_lookup(skb.cast(), &raw mut query, size, BPF_FIB_LOOKUP_OUTPUT) };
    // The gateway, and no preferred source. Rows M05, X08.
    match result as u32 {
        // SAFETY: a lookup of AF_INET writes this field.
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => unsafe { query.__bindgen_anon_4.ipv4_dst },
        _ => destination,
    }
}

/// The interface that leads to an inside address from one that a packet with this source has come by; 0: none. Not
/// inlined, for its stack.
#[inline(never)]
pub fn inside(skb: *mut __sk_buff, interface: IfIndex, source: Address, destination: Address) -> IfIndex {
    // SAFETY: integers and unions of integers.
    let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    query.family = AF_INET;
    query.ifindex = interface.number();
    query.__bindgen_anon_3.ipv4_src = source.to_wire();
    query.__bindgen_anon_4.ipv4_dst = destination.to_wire();
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context and the query are valid.
    let result = unsafe { generated::bpf_fib_lookup(skb.cast(), &raw mut query, size, 0) };
    // Row X08.
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => IfIndex::new(query.ifindex),
        _ => IfIndex::NONE,
    }
}
