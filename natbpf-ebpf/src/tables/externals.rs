//! External addresses that are not the uplink's own.

use natbpf_common::{
    Address, IfIndex,
    contract::{
        forwards::{ExternalFlags, ExternalKey},
        uplinks::{Uplink, UplinkFlags},
    },
};

use crate::memory::{
    maps::EXTERNALS,
    shared::{Lookup as _, cell},
};

/// Whether an address is one of the uplink's external ones that the host itself does not have: its stack must not see a
/// packet for it, which it would send back to the outside.
#[inline(always)]
pub fn is_foreign(uplink: &Uplink, address: Address) -> bool {
    uplink.has(UplinkFlags::SERVES) && is_answered(uplink.interface, address) != 0
}

/// Whether an address is external on any uplink with hairpinning. Not inlined, for the stack of its callers.
#[inline(never)]
pub fn is_external(address: Address) -> u32 {
    EXTERNALS.shared(&ExternalKey { uplink: IfIndex::NONE, address }).is_some() as u32
}

/// Not inlined, for the stack of its callers.
#[inline(never)]
fn is_answered(interface: IfIndex, address: Address) -> u32 {
    EXTERNALS
        .shared(&ExternalKey { uplink: interface, address })
        .map_or(ExternalFlags::empty(), |external| {
            cell!(external, flags).load().intersection(ExternalFlags::ANSWER)
        })
        .bits()
}
