//! The probe once more, to see which rule counts it; and the names that a verdict needs.

use super::{
    Chase, Probe, Trace,
    kernel::Names,
    rules::{Counted, counted, has_counted},
};
use crate::facts::Host;

/// Names of the reasons and functions of a trace's drops.
pub fn names(chase: &Chase<'_>, trace: &Trace, long: Option<&Trace>) -> Names {
    let drops = trace.drops.iter().chain(long.into_iter().flat_map(|long| &long.drops));
    let locations: Vec<_> = drops.map(|drop| drop.location).filter(|location| *location != 0).collect();
    Names::new(chase.reasons(), &locations)
}

/// Sends the probe again where a rule has dropped it, and sees which one counts it.
pub fn rule(
    chase: &mut Chase<'_>,
    host: &Host,
    trace: &Trace,
    names: &Names,
    (probe, gateway): (Probe, [u8; 6]),
) -> Option<Counted> {
    let drop = trace.drops.last()?;
    let is_netfilter =
        names.reason(drop.reason) == "NETFILTER_DROP" || names.function(drop.location) == "nf_hook_slow";
    let place = host.at(drop.namespace).filter(|_| is_netfilter)?;
    let is_v6 = chase.is_v6();
    let before = counted(place, is_v6);
    chase.repeat(probe, gateway).ok()?;
    let after = counted(place, is_v6);
    has_counted(&before, &after).cloned()
}
