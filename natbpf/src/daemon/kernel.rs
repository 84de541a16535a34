//! Looking whether the programs still are where they were put. Some of what takes them off tells of it, and
//! some does not.

use std::collections::BTreeSet;

use anyhow::Result;
use natbpf_common::IfIndex;

use super::state::Daemon;
use crate::{
    datapath::{Attacher, Role, complete},
    network::name_of,
};

impl Daemon {
    /// True: something was lost.
    pub(super) async fn look_at_kernel(&mut self, attacher: &Attacher) -> bool {
        self.rota.advance();
        if self.rota.is_over() {
            self.offloading.try_all_ports();
        }
        let (few, rota) = (self.few(), self.rota);
        self.find_lost(attacher, |interface| few.contains(&interface) || rota.has(interface)).await
    }

    /// The interfaces of the plan but for the ports.
    pub(super) fn few(&self) -> BTreeSet<IfIndex> {
        self.plan.few().map(|place| place.at.0).collect()
    }

    /// The same for these interfaces. What is lost is forgotten, so that it is attached again.
    pub(super) async fn find_lost(&mut self, attacher: &Attacher, these: impl Fn(IfIndex) -> bool) -> bool {
        let (mut lost, all_seen) = attacher.find_lost(these).await;
        if let Err(error) = all_seen {
            tracing::error!("cannot see whether all programs still are attached: {error:#}");
        }
        // What is gone with its interface is told of by that.
        lost.retain(|lost| name_of(lost.interface).is_some());
        for lost in &lost {
            let name = name_of(lost.interface).unwrap_or_default();
            let what = lost.hook.map_or_else(|| "XDP".to_owned(), |hook| hook.to_string());
            let leak = if lost.role == Role::Uplink { "; packets may have left untranslated" } else { "" };
            tracing::error!(
                "somebody has taken natbpf's program off {name} ({what}){leak}. It is attached again; find out who does \
                 that: bpftool net show dev {name}"
            );
        }
        self.claimed.extend(lost.iter().map(|lost| (lost.interface, lost.role)));
        !lost.is_empty()
    }

    /// Whether a program of the plan is not attached, but for those of ports, which have their own turn.
    pub(super) fn is_incomplete(&self) -> Result<bool> {
        let there = complete(&self.options.pins)?;
        Ok(self.plan.few().any(|place| !there.contains(&place.at)))
    }
}
