//! Attaching by links of TCX, which are pinned and outlive the daemon.

use std::fs;

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, ProgramId, SchedClassifier,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
};

use super::{Attacher, errors::has_code, inventory::program_of};
use crate::datapath::Hook;

impl Attacher {
    pub(super) fn attach_tcx(
        &self,
        program: &mut SchedClassifier,
        interface: u32,
        name: &str,
        hook: Hook,
    ) -> Result<()> {
        if self.pins.clsact(interface, hook).exists() {
            bail!("it is attached by clsact already; run `natbpf detach` before changing to tcx");
        }
        let path = self.pins.tcx(interface, hook);
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            let link: SchedClassifierLink = FdLink::from(pinned).try_into()?;
            match program.attach_to_link(link) {
                Ok(id) => {
                    // Dropping the descriptor leaves the pin.
                    drop(FdLink::try_from(program.take_link(id)?)?);
                    return Ok(());
                }
                // The interface it belonged to is gone, and another has its number now.
                Err(error) if has_code(&error, libc::ENOLINK) => {
                    fs::remove_file(&path).context("cannot remove a dead link")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let options = TcAttachOptions::TcxOrder(self.order(interface, hook));
        let id = program.attach_with_options(name, hook.side().attach_type(), options)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        // It outlives the daemon. Row S41.
        link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(())
    }

    /// The place among the programs of the hook: last, but hairpinning comes before the port's program.
    fn order(&self, interface: u32, hook: Hook) -> LinkOrder {
        let port = match hook {
            Hook::Inside => program_of(&self.pins.tcx(interface, Hook::PortIngress)),
            _ => None,
        };
        let Some(port) = port else { return LinkOrder::default() };
        // SAFETY: a number and no more; the kernel refuses the link if that program is not there.
        LinkOrder::before_program_id(unsafe { ProgramId::new(port) })
    }
}
