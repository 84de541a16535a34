//! Looking at what the kernel has, and not at pins: filters and qdiscs can be deleted, and links detached, by
//! anybody with the privilege, and a pin outlives them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use natbpf_common::IfIndex;

use super::{Attacher, Attachment, errors::has_code};
use crate::datapath::{
    Hook, Role,
    pins::{Mode, Pin},
    sys::{self, Link, if_there},
};

/// A program of ours that somebody has taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Interface index.
    pub interface: IfIndex,
    pub role: Role,
    /// `None`: that of XDP.
    pub hook: Option<Hook>,
}

impl Attacher {
    /// What is attached by TC.
    pub async fn look(&self) -> Result<Vec<Attachment>> {
        let mut there = Vec::new();
        for (path, pin) in self.pins.list()? {
            let Pin::Tc(mode, interface, hook) = pin else { continue };
            if let Some(program) = self.program_at(&path, pin).await? {
                there.push(Attachment { interface, hook, mode, program });
            }
        }
        Ok(there)
    }

    /// Programs that should be at these interfaces and are not. Their pins are removed, so that they can be
    /// attached again. Nothing is known of what could not be looked at, and it keeps its pin, which may be all that
    /// holds it; the first such error is told.
    pub async fn find_lost(&self, interfaces: impl Fn(IfIndex) -> bool) -> (Vec<Lost>, Result<()>) {
        let mut lost = Vec::new();
        let mut all_seen = Ok(());
        let pins = match self.pins.list() {
            Ok(pins) => pins,
            Err(error) => return (lost, Err(error)),
        };
        for (path, pin) in pins {
            let Some((interface, role)) = pin.place().filter(|(interface, _)| interfaces(*interface)) else {
                continue;
            };
            match self.is_lost(&path, pin).await {
                Ok(true) => lost.push(Lost { interface, role, hook: pin.hook() }),
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
        if_there(fs::remove_file(path)).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(true)
    }

    /// The program of a pin, if it is where it was put.
    pub(super) async fn program_at(&self, path: &Path, pin: Pin) -> Result<Option<u32>> {
        match pin {
            Pin::Tc(Mode::Tcx, interface, _) | Pin::Xdp(interface, _) => program_at(path, interface),
            Pin::Tc(Mode::Clsact, interface, hook) => {
                let program = match ProgramInfo::from_pin(path) {
                    Err(error) if has_code(&error, libc::ENOENT) => return Ok(None),
                    other => other.with_context(|| format!("cannot look at {}", path.display()))?.id(),
                };
                let filters = self.filters(interface, hook.side()).await?;
                let mut ours = filters.iter().filter(|filter| filter.is_of(hook));
                Ok(ours.any(|filter| filter.program == Some(program)).then_some(program))
            }
            Pin::Qdisc(_) | Pin::Other => Ok(None),
        }
    }
}

/// The program of a pinned link, if it is attached to this interface: one that was detached belongs to none.
pub(super) fn program_at(path: &Path, interface: IfIndex) -> Result<Option<u32>> {
    Ok(pinned_link(path)?.filter(|link| link.interface == interface).map(|link| link.program))
}

pub(super) fn pinned_link(path: &Path) -> Result<Option<Link>> {
    sys::pinned_link(path).with_context(|| format!("cannot look at {}", path.display()))
}
