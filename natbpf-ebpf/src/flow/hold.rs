//! What a flow holds beside its two entries: a mapping, peers, places in its source's accounts.

use natbpf_common::{
    Address,
    contract::{gauge::Gauge, rules::Rule},
    flow::{FlowKey, Rewrite, Status, Traits},
};

use super::mapping;
use crate::memory::gauges;

/// Gives back what a translation holds beside its two entries. Not inlined, for its stack.
#[inline(never)]
pub fn release(key: &FlowKey, rewrite: Rewrite, status: Status, traits: Traits) {
    if status.mapped() {
        mapping::leave(&mapping::external(key.protocol, rewrite.address, rewrite.port));
    }
    if traits.intersects(Traits::PEERED) {
        mapping::leave(&mapping::peer(key.protocol, rewrite.address, rewrite.port, key.destination));
    }
    if traits.intersects(Traits::COUNTED) {
        mapping::leave(&mapping::source(key.source));
    }
    if traits.intersects(Traits::COUNTED_INBOUND) {
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
