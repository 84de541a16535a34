//! Attaching by filters of a clsact qdisc. A filter lives by itself; a pin of the program beside it says that
//! it is ours.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    SchedClassifier,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
};
use natbpf_common::IfIndex;

use super::{
    Attacher,
    errors::has_code,
    filter::{HANDLE, our_filter, priority},
};
use crate::datapath::{Hook, sys::if_there};

impl Attacher {
    pub(super) async fn attach_clsact(
        &self,
        program: &mut SchedClassifier,
        interface: IfIndex,
        name: &str,
        hook: Hook,
    ) -> Result<()> {
        if self.pins.tcx(interface, hook).exists() {
            bail!("it is attached by tcx already; run `natbpf detach` before changing to clsact");
        }
        match qdisc_add_clsact(name) {
            Ok(()) => pin(program, &self.pins.qdisc(interface))?,
            // Before anything is added, which the kernel would tell everybody, us too, and we would try again.
            Err(error) if has_code(&error, libc::EEXIST) => {
                if !self.has_filters(interface) && self.has_ingress_qdisc(interface).await {
                    return Err(ingress_qdisc(name));
                }
            }
            Err(error) => return Err(error).context("cannot add the clsact qdisc"),
        }
        let path = self.pins.clsact(interface, hook);
        // A pin may be left of a start that was killed before it had added the filter.
        if path.exists() && replace_filter(program, name, hook)? {
            return pin(program, &path);
        }
        // The pin comes first: a filter without one would be taken for somebody else's.
        pin(program, &path)?;
        let options = NlOptions { priority: priority(hook), handle: HANDLE, classid: None };
        let options = TcAttachOptions::Netlink(options);
        match program.attach_with_options(name, hook.side().attach_type(), options) {
            Ok(id) => {
                // Dropping it would detach.
                std::mem::forget(program.take_link(id)?);
                Ok(())
            }
            Err(error) => {
                fs::remove_file(&path).context("cannot remove a pin")?;
                if self.has_ingress_qdisc(interface).await {
                    Err(ingress_qdisc(name))
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// Whether we have a filter there: then it has a clsact qdisc.
    fn has_filters(&self, interface: IfIndex) -> bool {
        Hook::ALL.iter().any(|hook| self.pins.clsact(interface, *hook).exists())
    }
}

fn ingress_qdisc(name: &str) -> anyhow::Error {
    anyhow!(
        "it has an `ingress` qdisc (of SQM, wondershaper or the like), beside which there can be no clsact qdisc for the \
         programs of natbpf; remove it with: tc qdisc del dev {name} ingress, and shape by a clsact qdisc, \
         or attach by tcx (Linux 6.6)"
    )
}

/// Puts a program in the place of the one that our filter runs. False: the filter is not there.
fn replace_filter(program: &mut SchedClassifier, name: &str, hook: Hook) -> Result<bool> {
    let Ok(id) = program.attach_to_link(our_filter(name, hook)?) else { return Ok(false) };
    // Dropping it would detach.
    std::mem::forget(program.take_link(id)?);
    Ok(true)
}

/// Pins a program in the place of an older one.
fn pin(program: &mut SchedClassifier, path: &Path) -> Result<()> {
    if_there(fs::remove_file(path)).context("cannot remove an old pin")?;
    program.pin(path).with_context(|| format!("cannot pin {}", path.display()))
}
