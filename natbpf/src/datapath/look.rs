//! Looking at what the kernel has, and not at pins: filters and qdiscs can be deleted, and links detached, by anybody with the privilege,
//! and a pin outlives them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;

use super::{
    Attacher, Attachment, Hook, Mode, Role,
    attach::{HANDLE, priority, program_of},
    pins::Pin,
    sys,
};

/// A program of ours that somebody has taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Interface index.
    pub interface: u32,
    pub role: Role,
    /// `None`: that of XDP.
    pub hook: Option<Hook>,
}

impl Attacher {
    /// What is attached by TC.
    pub async fn look(&self) -> Result<Vec<Attachment>> {
        let mut there = Vec::new();
        for (path, pin) in self.pins.list().context("cannot list what is pinned")? {
            let (interface, hook, mode) = match pin {
                Pin::Tcx(interface, hook) => (interface, hook, Mode::Tcx),
                Pin::Clsact(interface, hook) => (interface, hook, Mode::Clsact),
                _ => continue,
            };
            if let Some(program) = self.program_at(&path, pin).await? {
                there.push(Attachment { interface, hook, mode, program });
            }
        }
        Ok(there)
    }

    /// Programs that should be at these interfaces and are not. Their pins are removed, so that they can be attached again.
    pub async fn find_lost(&self, interfaces: impl Fn(u32) -> bool) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        for (path, pin) in self.pins.list().context("cannot list what is pinned")? {
            let (interface, role, hook) = match pin {
                Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => {
                    (interface, hook.role(), Some(hook))
                }
                Pin::Xdp(interface, role) => (interface, role, None),
                Pin::Qdisc(_) | Pin::Other => continue,
            };
            if interfaces(interface) && self.program_at(&path, pin).await?.is_none() {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                lost.push(Lost { interface, role, hook });
            }
        }
        Ok(lost)
    }

    /// The program of a pin, if it is where it was put.
    async fn program_at(&self, path: &Path, pin: Pin) -> Result<Option<u32>> {
        match pin {
            Pin::Tcx(interface, _) | Pin::Xdp(interface, _) => {
                // A link that was detached belongs to no interface.
                Ok(program_of(path).filter(|_| is_attached(path, interface)))
            }
            Pin::Clsact(interface, hook) => {
                let Ok(program) = ProgramInfo::from_pin(path).map(|program| program.id()) else {
                    return Ok(None);
                };
                let filters = self.filters(interface, hook).await?;
                let ours = filters.iter().any(|filter| {
                    filter.handle == u32::from(HANDLE)
                        && filter.priority == priority(hook)
                        && filter.program == Some(program)
                });
                Ok(ours.then_some(program))
            }
            Pin::Qdisc(_) | Pin::Other => Ok(None),
        }
    }
}

/// Whether the link of a pin is attached to an interface.
pub(super) fn is_attached(path: &Path, interface: u32) -> bool {
    sys::interface_of_link(path).is_ok_and(|owner| owner == interface)
}
