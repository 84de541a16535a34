//! What others have on the TC hooks of an interface: filters, those of shared blocks, and programs by TCX.

use anyhow::{Context as _, Result, bail};

use super::{
    Attacher,
    filter::{HANDLE, priority},
};
use crate::datapath::{Hook, Role, Side, sys};

impl Attacher {
    /// Whether the operator has said so.
    pub const fn lives_with_others(&self) -> bool {
        self.coexist
    }

    /// The first that is not ours, in words. Nothing if they are to be lived with.
    pub async fn other(&self, interface: u32, name: &str, side: Side) -> Result<Option<String>> {
        if self.coexist { Ok(None) } else { self.foreign(interface, name, side).await }
    }

    /// Refuses if somebody else's TC programs are on the interface, unless told to live with them. Row X05.
    pub async fn check_foreign(&self, interface: u32, name: &str, role: Role) -> Result<()> {
        if self.coexist {
            return Ok(());
        }
        for &hook in role.hooks() {
            if let Some(foreign) = self.foreign(interface, name, hook.side()).await? {
                bail!(
                    "{foreign} is attached to {name} ({hook}) by somebody else and may redirect or drop packets \
                     before natbpf sees them; remove it, or run natbpf with --coexist if both are wanted"
                );
            }
        }
        Ok(())
    }

    async fn foreign(&self, interface: u32, name: &str, side: Side) -> Result<Option<String>> {
        // The interface may have another role, too.
        let mut ours = Vec::new();
        for hook in Hook::ALL {
            let path = self.pins.tcx(interface, hook);
            let link =
                sys::pinned_link(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            ours.extend(link.map(|link| link.program));
        }
        let programs = side
            .tcx_programs(interface)
            .with_context(|| format!("cannot see which TCX programs are at {name} ({})", side.name()))?;
        if let Some(other) = programs.into_iter().find(|program| !ours.contains(program)) {
            return Ok(Some(describe(other)));
        }
        let known: Vec<u16> = Hook::ALL
            .into_iter()
            .filter(|known| known.side() == side)
            .filter(|known| self.pins.clsact(interface, *known).exists())
            .map(priority)
            .collect();
        for filter in self.filters(interface, side).await? {
            if filter.handle != u32::from(HANDLE) || !known.contains(&filter.priority) {
                return Ok(Some(format!(
                    "a TC filter of kind {} with priority {}",
                    filter.kind, filter.priority
                )));
            }
        }
        Ok(None)
    }
}

/// What the operator finds a program by: its name, if the kernel tells, and its number.
pub(super) fn describe(number: u32) -> String {
    match sys::program_name(number) {
        Ok(name) => format!("the BPF program {name} (number {number})"),
        Err(_) => format!("the BPF program number {number}"),
    }
}
