//! The probe once more, to see which rule counts it; and the names that a verdict needs.

use std::net::IpAddr;

use super::{
    Chase, Probe, Trace,
    kernel::Names,
    listing::Counted,
    rules::{Passage, counted, growth},
};
use crate::facts::Host;

/// So many at once: hardly anything else is counted as often meanwhile.
const PROBES: usize = 3;
/// How often it is tried where others are.
const ROUNDS: usize = 3;

/// Names of the reasons and functions of a trace's drops.
pub fn names(chase: &Chase<'_>, trace: &Trace, long: Option<&Trace>) -> Names {
    let drops = trace.drops.iter().chain(long.into_iter().flat_map(|long| &long.drops));
    let locations: Vec<_> = drops.map(|drop| drop.location).filter(|location| *location != 0).collect();
    Names::new(chase.reasons(), &locations)
}

/// Sends more probes where a rule has dropped the first one, and sees which rules count as many. One alone has dropped
/// them.
pub fn rules(
    chase: &mut Chase<'_>,
    host: &Host,
    trace: &Trace,
    names: &Names,
    probe: (Probe, [u8; 6]),
) -> Option<Vec<Counted>> {
    let drop = trace.drops.last()?;
    let is_netfilter =
        names.reason(drop.reason) == "NETFILTER_DROP" || names.function(drop.location) == "nf_hook_slow";
    let place = host.at(drop.namespace).filter(|_| is_netfilter)?;
    let [source, destination] = [drop.ends.source, drop.ends.destination].map(IpAddr::from);
    let passage = Passage::of(place, source, destination);
    let is_v6 = chase.is_v6();
    let mut before = counted(place, is_v6);
    let mut rules: Option<Vec<Counted>> = None;
    for _ in 0..ROUNDS {
        chase.repeat(probe, PROBES, place.cookie).ok()?;
        let after = counted(place, is_v6);
        let grown = growth(&before, after.clone(), passage);
        before = after;
        if !grown.iter().any(|(_, more)| *more >= PROBES as u64) {
            // No rule that counts has dropped them.
            return None;
        }
        let earlier = rules.take();
        let stays =
            |rule: &Counted| earlier.as_ref().is_none_or(|rules| rules.iter().any(|old| old.is(rule)));
        let found: Vec<_> = grown
            .into_iter()
            .filter(|(rule, more)| *more == PROBES as u64 && stays(rule))
            .map(|(rule, _)| rule)
            .collect();
        if found.len() == 1 {
            return Some(found);
        }
        rules = Some(found).filter(|found| !found.is_empty()).or(earlier);
    }
    rules
}
