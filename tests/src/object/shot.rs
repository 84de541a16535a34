//! Packets by the million: one system call to send one and one to read the counters.

use natbpf::datapath::Hook;
use natbpf_common::contract::counter::{Counter, Counters};

use super::{Context, Object, Verdict};

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Shot {
    pub verdict: Verdict,
    pub after: Vec<u8>,
    /// By how much each counter changed.
    pub counted: Counters,
}

impl Object {
    pub fn counters(&self) -> Counters {
        self.programs.tables.counters().expect("the counters")
    }

    /// As [`Object::try_step`], with the counters as they were before, which are brought up to date.
    pub fn shoot(
        &mut self,
        hook: Hook,
        frame: &[u8],
        context: Context,
        counters: &mut Counters,
    ) -> Option<Shot> {
        let (verdict, after) = self.try_run(hook, frame, context)?;
        let now = self.counters();
        let mut counted = [0; Counter::COUNT];
        for ((difference, now), before) in counted.iter_mut().zip(&now).zip(counters.iter()) {
            *difference = now - before;
        }
        *counters = now;
        Some(Shot { verdict, after, counted })
    }
}
