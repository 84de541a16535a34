//! Which external ports to try for a flow, in which order.

use crate::wire::Port;

/// Ports in host order, both ends included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// How many ports are tried. The first half keeps the parity of the source port.
pub const PROBES: u32 = 256;

/// Random probes go in runs of this many neighbours of the same parity, so that one run touches few of the
/// host's sockets' hash buckets but no dense stretch of used ports stops a search.
const RUN: u32 = 8;

impl PortRange {
    /// From the first to the last port; `None` if it would be empty.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The range of a source port's own class: RFC 4787 REQ-3a, with netfilter's borders
    /// (`nf_nat_l4proto_unique_tuple`). Row U05.
    #[inline(always)]
    pub const fn of_class(port: Port) -> Self {
        match port.number() {
            0..512 => Self { first: 1, last: 511 },
            512..1024 => Self { first: 600, last: 1023 },
            _ => Self { first: 1024, last: 65535 },
        }
    }

    /// All 65536 numbers, as query identifiers of ICMP use them.
    pub const fn all() -> Self {
        Self { first: 0, last: 65535 }
    }

    /// From the two numbers of a rule that has been checked to be in order.
    #[inline(always)]
    pub const fn from_checked(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// Whether the port is in the range.
    #[inline(always)]
    pub const fn contains(&self, port: Port) -> bool {
        self.first <= port.number() && port.number() <= self.last
    }

    /// Number of ports, 1 to 65536.
    #[inline(always)]
    pub const fn count(&self) -> u32 {
        (self.last as u32).wrapping_sub(self.first as u32).wrapping_add(1) & 0x1_ffff
    }

    /// The port to try at a step of the search, 0 to [`PROBES`]. `None` says: nothing at this step, go on to
    /// the next.
    ///
    /// Ranges of up to half as many ports as there are probes are tried whole, first those of the source's
    /// parity, then the others (RFC 4787 REQ-4: parity where it can be had). In longer ranges a sample is
    /// tried that the seed decides.
    #[inline(always)]
    pub const fn candidate(&self, step: u32, seed: u64, source: Port) -> Option<Port> {
        let length = self.count();
        let half = PROBES / 2;
        let keep_parity = step < half;
        if length <= half {
            let place = step & (half - 1);
            if place >= length {
                return None;
            }
            let offset = reduce(seed as u32, length) + place;
            let offset = if offset >= length { offset - length } else { offset };
            let port = Port::new(self.first.wrapping_add(offset as u16));
            return if same_parity(port, source) == keep_parity { Some(port) } else { None };
        }
        let (run, place) = if keep_parity { (step / RUN, step % RUN) } else { (step, 0) };
        let offset = reduce(mix(seed, run), length) + 2 * place;
        let offset = if offset >= length { offset - length } else { offset };
        let port = self.first.wrapping_add(offset as u16);
        if keep_parity {
            let fixed = port & !1 | source.number() & 1;
            let port = Port::new(fixed);
            return if self.contains(port) { Some(port) } else { None };
        }
        Some(Port::new(port))
    }
}

#[inline(always)]
const fn same_parity(a: Port, b: Port) -> bool {
    (a.number() ^ b.number()) & 1 == 0
}

/// Maps 32 random bits to 0..length without a division.
#[inline(always)]
pub const fn reduce(random: u32, length: u32) -> u32 {
    ((random as u64 * length as u64) >> 32) as u32
}

/// 32 random bits of a seed and a counter (SplitMix64's finaliser).
#[inline(always)]
const fn mix(seed: u64, counter: u32) -> u32 {
    let mut x = seed.wrapping_add((counter as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn candidates(range: PortRange, seed: u64, source: u16) -> Vec<u16> {
        (0..PROBES)
            .filter_map(|step| range.candidate(step, seed, Port::new(source)))
            .map(Port::number)
            .collect()
    }

    proptest! {
        #[test]
        fn every_candidate_is_in_the_range(first: u16, length: u16, seed: u64, source: u16) {
            let range = PortRange::new(first, first.saturating_add(length)).unwrap();
            let candidates = candidates(range, seed, source);
            prop_assert!(!candidates.is_empty());
            for port in candidates {
                prop_assert!(range.contains(Port::new(port)), "{port} is not in {range:?}");
            }
        }

        #[test]
        fn a_small_range_is_tried_whole_and_no_port_twice(first in 0..65_000u16, length in 0..128u16, seed: u64, source: u16) {
            let range = PortRange::new(first, first + length).unwrap();
            let candidates = candidates(range, seed, source);
            let distinct: BTreeSet<u16> = candidates.iter().copied().collect();
            prop_assert_eq!(candidates.len(), distinct.len());
            prop_assert_eq!(distinct.len() as u32, range.count());
        }

        #[test]
        fn parity_is_kept_first(seed: u64, source: u16, small: bool) {
            let range = if small { PortRange::new(2000, 2099).unwrap() } else { PortRange::of_class(Port::new(40000)) };
            let first = candidates(range, seed, source)[0];
            prop_assert_eq!(first & 1, source & 1);
        }

        #[test]
        fn a_long_range_is_sampled_widely(seed: u64) {
            let distinct: BTreeSet<u16> = candidates(PortRange::of_class(Port::new(40000)), seed, 40000).into_iter().collect();
            prop_assert!(distinct.len() > 200, "only {} distinct ports", distinct.len());
        }
    }

    #[test]
    fn classes_as_in_netfilter() {
        for (port, first, last) in
            [(0, 1, 511), (500, 1, 511), (512, 600, 1023), (1023, 600, 1023), (1024, 1024, 65535)]
        {
            assert_eq!(PortRange::of_class(Port::new(port)), PortRange { first, last });
        }
        assert_eq!(PortRange::all().count(), 65536);
        assert_eq!(PortRange::new(5, 4), None);
    }

    #[test]
    fn the_ends_of_a_long_range_are_reached() {
        let range = PortRange::of_class(Port::new(40000));
        let all: BTreeSet<u16> = (0..4000u64)
            .flat_map(|seed| candidates(range, u64::wrapping_mul(seed, 0x1234_5678_9abc_def1), 40000))
            .collect();
        assert!(all.contains(&1024) && all.contains(&65535) && all.len() > 60_000, "{} ports", all.len());
    }
}
