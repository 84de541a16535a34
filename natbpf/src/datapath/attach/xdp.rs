//! Attaching to XDP hooks, by links that outlive the daemon.

use std::fs;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{Attacher, errors::has_code, look::program_at, others::describe};
use crate::datapath::{Loaded, Pins, Role, pins::Pin, sys};

/// A program on an XDP hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttachment {
    /// Interface index.
    pub interface: u32,
    /// Of an uplink or a port.
    pub role: Role,
    /// The kernel's number of the program.
    pub program: u32,
}

/// What is attached to XDP hooks.
pub fn xdp_attachments(pins: &Pins) -> Result<Vec<XdpAttachment>> {
    let mut there = Vec::new();
    for (path, pin) in pins.list().context("cannot list what is pinned")? {
        let Pin::Xdp(interface, role) = pin else { continue };
        let program =
            program_at(&path, interface).with_context(|| format!("cannot look at {}", path.display()))?;
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
        interface: u32,
        role: Role,
        other: Option<u32>,
    ) -> Result<()> {
        let path = self.pins.xdp(interface, role);
        let program = loaded.xdp(role)?;
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            match program.attach_to_link(XdpLink::try_from(FdLink::from(pinned))?) {
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
        match sys::attach_xdp(std::os::fd::AsFd::as_fd(program.fd()?), interface, &path) {
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
    pub async fn detach_xdp(&self, interface: u32, role: Role) -> Result<()> {
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
