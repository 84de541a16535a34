//! Whether a new flow is to be masqueraded, and how.

use aya_ebpf::btf_maps::lpm_trie::Key;
use natbpf_common::{
    Address, IfIndex,
    contract::rules::{DestinationKey, PREFIX_BASE, Rule, RuleFlags, SourceKey},
};

use crate::memory::maps::{DESTINATIONS, SOURCES};

const FULL: u32 = PREFIX_BASE + 32;

/// The rule for what leaves by this interface from a source toward a destination. Rows M01, N04.
#[inline(always)]
pub fn find(interface: IfIndex, source: Address, destination: Address) -> Option<&'static Rule> {
    // A DHCP client that has no address yet (RFC 2131, section 4.1). Row M15.
    if source.is_unspecified() {
        return None;
    }
    let mut rule = SOURCES.get(&Key::new(FULL, SourceKey { uplink: interface, source }))?;
    if rule.has(RuleFlags::DESTINATIONS) {
        // Row C07.
        rule = DESTINATIONS.get(&Key::new(FULL, DestinationKey { rule: rule.id, destination }))?;
    }
    if rule.has(RuleFlags::EXEMPT) { None } else { Some(rule) }
}
