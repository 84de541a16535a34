//! Whether a new flow is to be masqueraded, and how.

use aya_ebpf::btf_maps::lpm_trie::Key;
use natbpf_common::{
    config::{ExceptKey, PREFIX_BASE, Rule, SourceKey},
    flow::FlowKey,
};

use crate::maps::{EXCEPTS, SOURCES};

const FULL: u32 = PREFIX_BASE + 32;

/// The rule for a flow that leaves by this interface.
#[inline(always)]
pub fn find(interface: u32, key: &FlowKey) -> Option<&'static Rule> {
    // A DHCP client that has no address yet (RFC 2131, section 4.1).
    if key.source.is_unspecified() {
        return None;
    }
    let source = SourceKey { uplink: interface, source: key.source };
    let rule = SOURCES.get(&Key::new(FULL, source))?;
    if !rule.has(Rule::EXCEPTS) {
        return Some(rule);
    }
    let destination = ExceptKey { rule: rule.id, destination: key.destination };
    if EXCEPTS.get(&Key::new(FULL, destination)).is_some() { None } else { Some(rule) }
}
