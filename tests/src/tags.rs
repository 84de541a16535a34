//! A VLAN on the link between gateway and outside, without VLAN devices, which not every kernel has.
//!
//! At every egress a program puts a tag into the buffer's metadata, as a VLAN device does, and at every ingress
//! one takes it off again. natbpf stands in between: behind the one and before the other.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions};

use crate::netns::Namespace;
use crate::topology::Lab;
use crate::traffic::OBJECT;

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
            tags.attach(namespace, device, "push_tag", TcAttachType::Egress, LinkOrder::first())?;
            tags.attach(namespace, device, "pop_tag", TcAttachType::Ingress, LinkOrder::last())?;
        }
        Ok(tags)
    }

    fn attach(
        &mut self,
        namespace: &Namespace,
        device: &str,
        program: &str,
        hook: TcAttachType,
        order: LinkOrder,
    ) -> Result<()> {
        let program = self.program(program)?;
        namespace
            .enter(|| program.attach_with_options(device, hook, TcAttachOptions::TcxOrder(order)))?
            .with_context(|| format!("cannot attach to {device}"))?;
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        Ok(self.object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
    }
}
