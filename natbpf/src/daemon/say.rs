//! What the operator is told when it is news.

use std::collections::BTreeMap;

use super::state::Daemon;
use crate::{
    datapath::{Note, Role},
    status::{LeftOutStatus, Noted as _},
};

impl Daemon {
    /// Tells the operator what is left out, once, and `natbpf status` always.
    pub(super) fn say_left_out(&mut self) {
        let mut said = BTreeMap::new();
        for left in &self.plan.left_out {
            let key = (left.name.clone(), left.role);
            if self.refusals.said.get(&key) != Some(&left.reason) {
                let role = left.role.purpose();
                tracing::warn!("{} is left out{role}, and the rest goes on: {}", left.name, left.reason);
            }
            said.insert(key, left.reason.clone());
        }
        self.refusals.said = said;
        let left_out = self.plan.left_out.iter();
        let left_out = left_out.map(|left| LeftOutStatus::new(&left.name, left.role, &left.reason));
        let ports = self.plan.ports.iter().filter_map(|port| {
            let reason = self.offloading.left_out.get(&port.interface)?;
            Some(LeftOutStatus::new(&port.name, Role::Port, reason))
        });
        let found = self.edges.iter();
        let found =
            found.filter_map(|found| Some(LeftOutStatus::new(&found.name, Role::Port, found.left_out?)));
        let note: Vec<LeftOutStatus> = left_out.chain(ports).chain(found).collect();
        if let Err(error) = Note::LeftOut.write(&self.options.pins, LeftOutStatus::to_note(&note).as_deref())
        {
            tracing::warn!("{error:#}");
        }
    }

    /// Says what was chosen, where that is news. To be called when all has succeeded: what fails says one
    /// sentence, and that is another.
    pub(super) fn say_hooks(&mut self) {
        for hook in &self.plan.hooks {
            let sentence = hook.sentence();
            let said = self.xdp.said.insert((hook.interface, hook.role), sentence.clone());
            if said.as_ref() != Some(&sentence) {
                tracing::info!("{sentence}");
            }
        }
    }
}
