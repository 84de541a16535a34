//! One packet through one program, and everything that changed by it.

use std::collections::BTreeMap;

use natbpf::datapath::Hook;
use natbpf_common::contract::counter::{Counter, Counters};

use super::packet::sums_are_right;

/// Return values of the programs, `TC_ACT_UNSPEC`, `TC_ACT_SHOT` and `TC_ACT_REDIRECT` (linux/pkt_cls.h).
const UNSPEC: u32 = -1_i32 as u32;
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;

/// What the program says of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
    Redirect,
}

impl Verdict {
    pub(super) fn of(value: u32) -> Self {
        match value {
            UNSPEC => Self::Pass,
            SHOT => Self::Drop,
            REDIRECT => Self::Redirect,
            other => panic!("a program returned {other:#x}"),
        }
    }
}

/// The outcome of one run. One of its methods has to be called: each says all that may have changed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step {
    pub hook: Hook,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    pub verdict: Verdict,
    /// Names of the counters that changed, and by how much; without that of packets that were not repeated, which the
    /// rest tells.
    pub counted: BTreeMap<&'static str, u64>,
}

impl Step {
    pub(super) fn counted(before: &Counters, after: &Counters) -> BTreeMap<&'static str, u64> {
        let difference = |counter: &Counter| after[*counter as usize] - before[*counter as usize];
        Counter::ALL
            .iter()
            .filter(|counter| **counter != Counter::PacketsLeft)
            .map(|counter| (counter.name(), difference(counter)))
            .filter(|(_, difference)| *difference > 0)
            .collect()
    }

    #[track_caller]
    fn expect_counted(&self, expected: impl IntoIterator<Item = (Counter, u64)>) {
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(counter, times)| (counter.name(), times)).collect();
        assert_eq!(self.counted, expected, "{:?}: what was counted and what should be", self.verdict);
    }

    /// It went on, counted as traffic of the hook, and `events` one each.
    #[track_caller]
    fn expect_traffic(&self, events: &[Counter]) {
        let (packets, bytes) = match self.hook {
            Hook::Egress | Hook::PortIngress => (Counter::EgressPackets, Counter::EgressBytes),
            Hook::PortEgress => panic!("nothing is counted where packets leave for an instance"),
            Hook::Ingress => (Counter::IngressPackets, Counter::IngressBytes),
            Hook::Inside => (Counter::HairpinPackets, Counter::HairpinBytes),
        };
        let traffic = [(packets, 1), (bytes, self.after.len() as u64)];
        self.expect_counted(traffic.into_iter().chain(events.iter().map(|event| (*event, 1))));
    }

    /// It went on translated, by the way `events` counted one each; returns the frame.
    #[track_caller]
    pub fn translated(self, events: &[Counter]) -> Vec<u8> {
        self.expect_traffic(events);
        assert_eq!(self.verdict, Verdict::Pass);
        if let Some(right) = sums_are_right(&self.after) {
            assert!(
                right || sums_are_right(&self.before) == Some(false),
                "a checksum is wrong: {:02x?}",
                self.after
            );
        }
        self.after
    }

    /// It was sent elsewhere; returns the frame.
    #[track_caller]
    pub fn redirected(self, events: &[Counter]) -> Vec<u8> {
        self.expect_traffic(events);
        assert_eq!(self.verdict, Verdict::Redirect);
        self.after
    }

    /// It went on as it came.
    #[track_caller]
    pub fn untouched(self, events: &[Counter]) {
        self.expect_counted(events.iter().map(|event| (*event, 1)));
        assert_eq!(self.verdict, Verdict::Pass);
        assert_eq!(self.before, self.after);
    }

    /// Copies go on in its place, which are not counted here.
    #[track_caller]
    pub fn replayed(self, events: &[Counter]) {
        self.expect_counted(events.iter().map(|event| (*event, 1)));
        assert_eq!(self.verdict, Verdict::Drop);
    }

    /// It was dropped, and counted under this reason alone.
    #[track_caller]
    pub fn dropped(self, reason: Counter) {
        self.expect_counted([(reason, 1)]);
        assert_eq!(self.verdict, Verdict::Drop);
    }
}
