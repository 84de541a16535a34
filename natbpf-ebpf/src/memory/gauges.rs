//! Values that all processors share.

use natbpf_common::contract::gauge::Gauge;

use super::{
    maps::GAUGES,
    shared::{Cell, Lookup as _, Shared},
};

#[inline(always)]
pub fn cell(gauge: Gauge) -> Option<Cell<u64>> {
    GAUGES.shared(gauge as u32).map(Shared::whole)
}

#[inline(always)]
pub fn read(gauge: Gauge) -> u64 {
    cell(gauge).map_or(0, Cell::load)
}

/// `step` wraps: `u64::MAX` takes one away.
#[inline(always)]
pub fn add(gauge: Gauge, step: u64) {
    if let Some(value) = cell(gauge) {
        value.add(step);
    }
}
