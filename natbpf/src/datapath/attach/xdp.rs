//! Attaching to XDP hooks, by links that outlive the daemon.

use std::os::fd::AsFd as _;

use anyhow::{Result, anyhow, bail};
use aya::programs::xdp::XdpLink;

use natbpf_common::IfIndex;

use super::{Attacher, look::program_at, others::describe, replace::replace};
use crate::datapath::{Loaded, Pins, Role, pins::Pin, sys};

/// A program on an XDP hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttachment {
    /// Interface index.
    pub interface: IfIndex,
    /// That of an uplink or a port.
    pub role: Role,
    /// The kernel's number of the program.
    pub program: u32,
}

/// What is attached to XDP hooks.
pub fn xdp_attachments(pins: &Pins) -> Result<Vec<XdpAttachment>> {
    let mut there = Vec::new();
    for (path, pin) in pins.list()? {
        let Pin::Xdp(interface, role) = pin else { continue };
        let program = program_at(&path, interface)?;
        there.extend(program.map(|program| XdpAttachment { interface, role, program }));
    }
    Ok(there)
}

impl Attacher {
    /// Puts the program of a role into the driver of an interface, in the place of an older version's if there is
    /// one. `other` is the program that is there, which may be somebody else's.
    pub fn attach_xdp(
        &self,
        loaded: &mut Loaded,
        interface: IfIndex,
        role: Role,
        other: Option<u32>,
    ) -> Result<()> {
        let path = self.pins.xdp(interface, role);
        let program = loaded.xdp()?;
        let replaced = replace(&path, |link| {
            let id = program.attach_to_link(XdpLink::try_from(link)?)?;
            Ok(program.take_link(id)?.try_into()?)
        });
        if replaced? {
            return Ok(());
        }
        match sys::attach_xdp(program.fd()?.as_fd(), interface, &path) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                bail!("{} is there already, by somebody else; remove it", name(other))
            }
            // Row X06.
            Err(error) => Err(anyhow!(
                "the driver refuses XDP ({error}): maybe its MTU is too large, or LRO is on, or its queues are too few"
            )),
        }
    }

    /// Takes the program of a role off the driver, and leaves those of TC.
    pub async fn detach_xdp(&self, interface: IfIndex, role: Role) -> Result<()> {
        let path = self.pins.xdp(interface, role);
        if !path.exists() {
            return Ok(());
        }
        self.remove(&path, Pin::Xdp(interface, role), None).await
    }
}

/// What the operator finds it by.
fn name(program: Option<u32>) -> String {
    program.map_or_else(|| "an XDP program".to_owned(), |program| format!("at XDP {}", describe(program)))
}
