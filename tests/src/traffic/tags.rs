//! A VLAN on the link between gateway and outside, without VLAN devices, which not every kernel has.
//!
//! At every egress a program puts a tag into the buffer's metadata, as a VLAN device does, and at every ingress
//! one takes it off again. natbpf stands in between: behind the one and before the other.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
};
use aya::util::KernelVersion;

use super::OBJECT;
use crate::netns::Namespace;
use crate::topology::Lab;

/// The programs; dropping it takes them off.
pub struct Tags {
    object: Ebpf,
}

impl std::fmt::Debug for Tags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tags").finish_non_exhaustive()
    }
}

impl Tags {
    /// Tags the link. natbpf may be started before or after, with `--coexist`.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::between(&[(&lab.gw, "wan"), (&lab.out, "eth0")])
    }

    /// Tags all that passes between these devices. Twice in one place makes a tag within a tag.
    pub fn between(devices: &[(&Namespace, &str)]) -> Result<Self> {
        let mut tags = Self { object: Ebpf::load(OBJECT).context("cannot load the programs for tags")? };
        for program in ["push_tag", "pop_tag"] {
            tags.program(program)?.load().with_context(|| format!("the kernel refused {program}"))?;
        }
        for (namespace, device) in devices {
            tags.attach(namespace, device, "push_tag", TcAttachType::Egress)?;
            tags.attach(namespace, device, "pop_tag", TcAttachType::Ingress)?;
        }
        Ok(tags)
    }

    /// Before natbpf at egress, behind it at ingress.
    fn attach(
        &mut self,
        namespace: &Namespace,
        device: &str,
        program: &str,
        hook: TcAttachType,
    ) -> Result<()> {
        let at_ingress = hook == TcAttachType::Ingress;
        let options = if KernelVersion::current()? >= KernelVersion::new(6, 6, 0) {
            TcAttachOptions::TcxOrder(if at_ingress { LinkOrder::last() } else { LinkOrder::first() })
        } else {
            // A filter without a priority of its own comes before all others; natbpf's have 50000.
            let priority = if at_ingress { 60_000 } else { 0 };
            TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() })
        };
        let is_filter = matches!(options, TcAttachOptions::Netlink(_));
        let program = self.program(program)?;
        let attached = namespace.enter(|| {
            if is_filter {
                // It may be there already; if it cannot be had, neither can the filter.
                let _ = qdisc_add_clsact(device);
            }
            program.attach_with_options(device, hook, options)
        })?;
        let id = attached.with_context(|| format!("cannot attach to {device}"))?;
        if is_filter {
            // aya tells filters by numbers of interfaces, which are the same in many namespaces. This one
            // goes with its device.
            std::mem::forget(program.take_link(id)?);
        }
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        Ok(self.object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
    }
}
