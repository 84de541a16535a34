//! What a flow holds beside its two entries: a mapping, peers, places in its source's accounts.

use natbpf_common::{
    Address,
    contract::{gauge::Gauge, rules::Rule},
    flow::{FlowEntry, FlowKey, Rewrite, Status},
};

use super::mapping;
use crate::memory::gauges;

/// Gives back what a translation holds beside its two entries. Not inlined, for its stack.
#[inline(never)]
pub fn release(key: &FlowKey, rewrite: Rewrite, status: Status, traits: u16) {
    if status.mapped() {
        mapping::leave(&mapping::external(key.protocol, rewrite.address, rewrite.port));
    }
    if traits & FlowEntry::PEERED != 0 {
        mapping::leave(&mapping::peer(key.protocol, rewrite.address, rewrite.port, key.destination));
    }
    if traits & FlowEntry::COUNTED != 0 {
        mapping::leave(&mapping::source(key.source));
    }
    if traits & FlowEntry::COUNTED_INBOUND != 0 {
        mapping::leave(&mapping::source_inbound(key.source));
    }
    if status.host() {
        gauges::add(Gauge::HostMoved, u64::MAX);
    }
}

/// Counts a flow in an account of its source, if that has limits: what [`mapping::charge`] returns.
#[inline(always)]
pub fn charge(rule: &Rule, account: u32, source: Address) -> u32 {
    if rule.max_flows == 0 && rule.interval == 0 {
        return mapping::NOT_COUNTED;
    }
    mapping::charge(source, account, rule.max_flows, rule.interval)
}
