//! Packets that come in by one hook and leave by the other.

use natbpf::datapath::Hook;
use natbpf_common::path::handover::Handover;
use natbpf_common::path::passage::{Mark, slot_of};
use natbpf_gear::Beside;

use super::{Context, Object, Outcome, Step};

impl Object {
    /// A packet leaves by `lo` which had this claim where it came in.
    pub fn exit(&mut self, claim: u64, frame: &[u8]) -> Step {
        self.exit_with(u32::from(Mark::of_slot(slot_of(claim)).to_tc_index()), frame)
    }

    /// The same with any number in `skb->tc_index`.
    pub fn exit_with(&mut self, number: u32, frame: &[u8]) -> Step {
        let before = self.counters();
        let (verdict, after) = self.programs.marked.run(Hook::PortEgress, number, frame);
        let counted = Step::counted(&before, &self.counters());
        Step { hook: Hook::PortEgress, before: frame.to_vec(), after, verdict, counted }
    }

    /// A packet comes in by `lo`, and leaves by it as another one; what the first half counts is nothing.
    #[track_caller]
    pub fn cross(&mut self, before: &[u8], after: &[u8]) -> Step {
        self.step(Hook::PortIngress, before, Context::default()).untouched(&[]);
        let claim = self.claims();
        self.exit(claim, after)
    }

    /// A packet at an edge, with things beside its frame. `None`: the kernel takes it for no frame.
    pub fn look(&mut self, hook: Hook, frame: &[u8], beside: Beside, context: Context) -> Option<Outcome> {
        self.programs.marked.look(hook, frame, beside, context)
    }

    /// A packet that was redirected does not come to where it was sent: there is nothing to be said of it.
    pub fn forget_handover(&mut self) {
        self.programs.say(Handover::default());
    }
}
