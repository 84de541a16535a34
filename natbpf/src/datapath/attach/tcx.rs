//! Attaching by links of TCX, which are pinned and outlive the daemon.

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, ProgramId, SchedClassifier,
    links::FdLink,
    tc::{SchedClassifierLink, TcAttachOptions},
};
use natbpf_common::IfIndex;

use super::{Attacher, inventory::program_of, replace::replace};
use crate::datapath::Hook;

impl Attacher {
    pub(super) fn attach_tcx(
        &self,
        program: &mut SchedClassifier,
        interface: IfIndex,
        name: &str,
        hook: Hook,
    ) -> Result<()> {
        if self.pins.clsact(interface, hook).exists() {
            bail!("it is attached by clsact already; run `natbpf detach` before changing to tcx");
        }
        let path = self.pins.tcx(interface, hook);
        let replaced = replace(&path, |link| {
            let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
            Ok(program.take_link(id)?.try_into()?)
        });
        if replaced? {
            return Ok(());
        }
        let options = TcAttachOptions::TcxOrder(self.order(interface, hook));
        let id = program.attach_with_options(name, hook.side().attach_type(), options)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        // It outlives the daemon. Row S41.
        link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(())
    }

    /// The place among the programs of the hook: last, but hairpinning comes before the port's program.
    fn order(&self, interface: IfIndex, hook: Hook) -> LinkOrder {
        let port = match hook {
            Hook::Inside => program_of(&self.pins.tcx(interface, Hook::PortIngress)),
            _ => None,
        };
        let Some(port) = port else { return LinkOrder::default() };
        // SAFETY: a number and no more; the kernel refuses the link if that program is not there.
        LinkOrder::before_program_id(unsafe { ProgramId::new(port) })
    }
}
