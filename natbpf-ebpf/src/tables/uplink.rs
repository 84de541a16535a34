//! Which uplink a packet is at, and which address it lends.

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    Address, IfIndex,
    contract::{gauge::Gauge, uplinks::Uplink},
};

use crate::{
    kernel::route::next_hop,
    memory::{gauges, maps::UPLINKS},
};

/// The uplink of an interface index.
#[inline(always)]
pub fn of(interface: IfIndex) -> Option<&'static Uplink> {
    UPLINKS.get(gauges::read(Gauge::Uplinks) as u32)?.find(interface)
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
/// subnet holds the next hop, else the first. Row M04.
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
