//! What others have on the TC hooks of an interface: filters, those of shared blocks, and programs by TCX.

use anyhow::{Context as _, Result, bail};
use natbpf_common::IfIndex;

use super::{Attacher, filter::Filter, look::pinned_link};
use crate::datapath::{Hook, Role, Side, sys};

impl Attacher {
    /// Whether the operator has said so.
    pub const fn lives_with_others(&self) -> bool {
        self.coexist
    }

    /// The first that is not ours, in words. Nothing if they are to be lived with.
    pub async fn other(&self, interface: IfIndex, name: &str, side: Side) -> Result<Option<String>> {
        if self.coexist { Ok(None) } else { self.foreign(interface, name, side).await }
    }

    /// Refuses if somebody else's TC programs are on the interface, unless told to live with them. Row X05.
    pub async fn check_foreign(&self, (interface, role): (IfIndex, Role), name: &str) -> Result<()> {
        if self.coexist {
            return Ok(());
        }
        for &hook in role.hooks() {
            if let Some(foreign) = self.foreign(interface, name, hook.side()).await? {
                // Who shapes or counts what passes a port has to see all of it.
                let advice = if role == Role::Port {
                    "remove it, or run natbpf with --coexist if packets may pass it by, which those of a shaper (SQM), \
                     say, may not"
                } else {
                    "remove it, or run natbpf with --coexist if both are wanted"
                };
                bail!(
                    "{foreign} is attached to {name} ({hook}) by somebody else and may redirect or drop packets \
                     before natbpf sees them; {advice}"
                );
            }
        }
        Ok(())
    }

    async fn foreign(&self, interface: IfIndex, name: &str, side: Side) -> Result<Option<String>> {
        // The interface may have another role, too.
        let mut ours = Vec::new();
        for hook in Hook::ALL {
            ours.extend(pinned_link(&self.pins.tcx(interface, hook))?.map(|link| link.program));
        }
        let programs = side
            .tcx_programs(interface)
            .with_context(|| format!("cannot see which TCX programs are at {name} ({})", side.name()))?;
        if let Some(other) = programs.into_iter().find(|program| !ours.contains(program)) {
            return Ok(Some(describe(other)));
        }
        let mut known = Hook::ALL.to_vec();
        known.retain(|hook| hook.side() == side && self.pins.clsact(interface, *hook).exists());
        let filters = self.filters(interface, side).await?;
        let other = filters.iter().find(|filter| !known.iter().any(|hook| filter.is_of(*hook)));
        let describe = |Filter { kind, priority, .. }: &Filter| {
            format!("a TC filter of kind {kind} with priority {priority}")
        };
        Ok(other.map(describe))
    }
}

/// What the operator finds a program by: its name, if the kernel tells, and its number.
pub(super) fn describe(number: u32) -> String {
    match sys::program_name(number) {
        Ok(name) => format!("the BPF program {name} (number {number})"),
        Err(_) => format!("the BPF program number {number}"),
    }
}
