//! Values that all processors share.

use natbpf_common::contract::gauge::Gauge;

use super::{atomic, maps::GAUGES};

#[inline(always)]
pub fn read(gauge: Gauge) -> u64 {
    GAUGES.get_ptr(gauge as u32).map_or(0, atomic::load)
}

/// `step` wraps: `u64::MAX` takes one away.
#[inline(always)]
pub fn add(gauge: Gauge, step: u64) {
    if let Some(value) = GAUGES.get_ptr_mut(gauge as u32) {
        atomic::add(value, step);
    }
}
