//! Which uplink a packet is at, and which address it lends.

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup,
    },
    helpers::generated,
};
use natbpf_common::{
    Address,
    contract::{gauge::Gauge, uplinks::Uplink},
};

use crate::{count, maps::UPLINKS};

const AF_INET: u8 = 2;

/// The uplink of an interface index.
#[inline(always)]
pub fn of(interface: u32) -> Option<&'static Uplink> {
    UPLINKS.get(count::gauge(Gauge::Uplinks) as u32)?.find(interface)
}

/// Whether an address is one of those that the uplink masquerades with.
#[inline(always)]
pub fn has(uplink: &Uplink, address: Address) -> bool {
    // Unrolled by LLVM, and ended by the data: the verifier knows nothing of how the count bounds an index.
    for known in &uplink.addresses {
        if known.local == address {
            return true;
        }
        if known.local.is_unspecified() {
            break;
        }
    }
    false
}

/// The address for a new flow, as the kernel's `inet_select_addr` chooses for `MASQUERADE`: the first whose
/// subnet holds the next hop, else the first.
#[inline(always)]
pub fn address(uplink: &Uplink, skb: *mut __sk_buff, destination: Address) -> Option<Address> {
    let first = uplink.addresses[0].local;
    match uplink.address_count {
        0 => return None,
        1 => return Some(first),
        _ => {}
    }
    let next_hop = Address::from_wire(next_hop(skb, uplink.interface, destination.to_wire()));
    for address in &uplink.addresses {
        if address.local.is_unspecified() {
            break;
        }
        if next_hop.masked(address.mask) == address.network {
            return Some(address.local);
        }
    }
    Some(first)
}

/// The gateway by which a destination is reached through the packet's device; the destination itself if it is
/// on the link.
///
/// Not inlined: the query is large for the stack, and is over when this returns.
#[inline(never)]
fn next_hop(skb: *mut __sk_buff, interface: u32, destination: u32) -> u32 {
    // SAFETY: integers and unions of integers.
    let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    query.family = AF_INET;
    query.ifindex = interface;
    query.__bindgen_anon_4.ipv4_dst = destination;
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context and the query are valid.
    let result =
        unsafe { generated::bpf_fib_lookup(skb.cast(), &raw mut query, size, BPF_FIB_LOOKUP_OUTPUT) };
    match result as u32 {
        // SAFETY: a lookup of AF_INET writes this field.
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => unsafe { query.__bindgen_anon_4.ipv4_dst },
        _ => destination,
    }
}
