//! Looking at what the kernel has, and not at pins: filters and qdiscs can be deleted, and links detached, by
//! anybody with the privilege, and a pin outlives them.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;

use super::{
    Attacher, Attachment, Mode,
    errors::has_code,
    filter::{HANDLE, priority},
};
use crate::datapath::{Hook, Role, pins::Pin, sys};

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

    /// Programs that should be at these interfaces and are not. Their pins are removed, so that they can be
    /// attached again. Of what could not be looked at nothing is known, and it keeps its pin, which may be all that
    /// holds it; the first such error is told.
    pub async fn find_lost(&self, interfaces: impl Fn(u32) -> bool) -> (Vec<Lost>, Result<()>) {
        let mut lost = Vec::new();
        let mut all_seen = Ok(());
        let pins = match self.pins.list().context("cannot list what is pinned") {
            Ok(pins) => pins,
            Err(error) => return (lost, Err(error)),
        };
        for (path, pin) in pins {
            let (interface, role, hook) = match pin {
                Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => {
                    (interface, hook.role(), Some(hook))
                }
                Pin::Xdp(interface, role) => (interface, role, None),
                Pin::Qdisc(_) | Pin::Other => continue,
            };
            if !interfaces(interface) {
                continue;
            }
            match self.is_lost(&path, pin).await {
                Ok(true) => lost.push(Lost { interface, role, hook }),
                Ok(false) => {}
                Err(error) => all_seen = all_seen.and(Err(error)),
            }
        }
        (lost, all_seen)
    }

    async fn is_lost(&self, path: &Path, pin: Pin) -> Result<bool> {
        if self.program_at(path, pin).await?.is_some() {
            return Ok(false);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(true),
        }
    }

    /// The program of a pin, if it is where it was put.
    pub(super) async fn program_at(&self, path: &Path, pin: Pin) -> Result<Option<u32>> {
        match pin {
            Pin::Tcx(interface, _) | Pin::Xdp(interface, _) => {
                program_at(path, interface).with_context(|| format!("cannot look at {}", path.display()))
            }
            Pin::Clsact(interface, hook) => {
                let program = match ProgramInfo::from_pin(path) {
                    Ok(program) => program.id(),
                    Err(error) if has_code(&error, libc::ENOENT) => return Ok(None),
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot look at {}", path.display()));
                    }
                };
                let filters = self.filters(interface, hook.side()).await?;
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

/// The program of a pinned link, if it is attached to this interface: one that was detached belongs to none.
pub(super) fn program_at(path: &Path, interface: u32) -> io::Result<Option<u32>> {
    let link = sys::pinned_link(path)?.filter(|link| link.interface == interface);
    Ok(link.map(|link| link.program))
}
