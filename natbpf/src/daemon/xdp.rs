//! The daemon's part in XDP: which interfaces have it, and which take frames from it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use natbpf_common::IfIndex;

use super::state::{Daemon, Others};
use crate::{
    config::HookMode,
    datapath::{Attacher, Role, Side, complete, xdp_attachments},
    network::{Snapshot, features},
    plan::{Missing, Plan, PlannedHook},
};

impl Daemon {
    /// To be done before programs are taken off: no frame is sent to an interface that does not take it any more.
    pub(super) fn withdraw_targets(&mut self, plan: &Plan) -> Result<()> {
        let targets = plan.hooks.iter().filter(|hook| hook.target).map(|hook| hook.interface);
        self.tables.keep_targets(&targets.collect())
    }

    /// Makes the XDP hooks what a plan says. To be done after the TC programs are attached, which do what XDP
    /// passes on.
    pub(super) async fn attach_xdp(
        &mut self,
        plan: &mut Plan,
        snapshot: &Snapshot,
        attacher: &Attacher,
    ) -> Result<()> {
        let before = xdp_attachments(&self.options.pins)?;
        let ports = self.tables.ports()?;
        // What is at a port that is not in the table comes off slice by slice.
        let leaves = |hook: &PlannedHook| hook.role == Role::Port && !ports.contains_key(&hook.interface);
        let there = complete(&self.options.pins)?;
        self.xdp.ours.retain(|place| before.iter().any(|known| (known.interface, known.role) == *place));
        let strict = plan.missing == Missing::Refused;
        for hook in &mut plan.hooks {
            let place = (hook.interface, hook.role);
            if leaves(hook) || !there.contains(&place) {
                hook.target = false;
                refuse(hook, "its TC programs are not attached");
            } else if hook.xdp
                && let Some(reason) = self.xdp.refused.get(&place)
            {
                refuse(hook, reason);
            }
            if leaves(hook) {
                self.xdp.ours.remove(&place);
            } else if !hook.xdp {
                if let Err(error) = attacher.detach_xdp(hook.interface, hook.role).await {
                    tracing::error!("{error:#}");
                }
                self.xdp.ours.remove(&place);
            } else if !self.xdp.ours.contains(&place) {
                let other = snapshot.link(hook.interface).and_then(|link| link.xdp);
                match attacher.attach_xdp(&mut self.loaded, hook.interface, hook.role, other) {
                    Ok(()) => {
                        self.xdp.ours.insert(place);
                    }
                    Err(error) if hook.asked == HookMode::Xdp && strict => {
                        return Err(error).with_context(|| {
                            let name = &hook.name;
                            format!(
                                "{name} cannot have hook = \"xdp\"; mend that, or write hook = \"tc\" for it"
                            )
                        });
                    }
                    Err(error) => {
                        let reason = format!("{error:#}");
                        // Row X06.
                        tracing::warn!("{} has no XDP, but TC: {reason}", hook.name);
                        refuse(hook, &reason);
                        self.xdp.refused.insert(place, reason);
                    }
                }
            }
        }
        self.tables.set_targets(&targets(plan, &self.others))
    }

    /// Whether frames are taken is nothing that netlink tells of with the interfaces.
    pub(super) fn recheck_targets(&mut self) {
        if self.xdp.ours.is_empty() {
            return;
        }
        if let Err(error) = self.tables.set_targets(&targets(&self.plan, &self.others)) {
            tracing::error!("{error:#}");
        }
    }
}

/// A driver may take frames only since it has a program, or the far end of a veth has come to be ready. Row X07.
fn targets(plan: &Plan, others: &Others) -> BTreeSet<IfIndex> {
    let runs = |to: &PlannedHook| plan.hooks.iter().any(|hook| hook.xdp && hook.interface != to.interface);
    let takes = features();
    let ready = |hook: &PlannedHook| match &takes {
        Some(features) => features.get(&hook.interface).is_some_and(|features| features.takes_frames()),
        // The kernel does not tell; the operator who asked for XDP knows.
        None => hook.asked == HookMode::Xdp,
    };
    // Frames that leave from XDP go past what is at the egress.
    let free = |hook: &PlannedHook| !others.are_at(hook.interface, Side::Egress);
    let targets = plan.hooks.iter().filter(|hook| hook.target && runs(hook) && ready(hook) && free(hook));
    targets.map(|hook| hook.interface).collect()
}

fn refuse(hook: &mut PlannedHook, reason: &str) {
    hook.xdp = false;
    reason.clone_into(&mut hook.reason);
}
