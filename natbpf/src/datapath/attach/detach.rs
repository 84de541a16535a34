//! Detaching from interfaces, some of which may be gone already.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::links::Link as _;
use netlink_packet_route::tc::TcHandle;

use natbpf_common::IfIndex;

use super::{
    Attacher,
    errors::{answered, is_gone},
    filter::our_filter,
};
use crate::{
    datapath::{
        Hook, Role, Side,
        pins::{Mode, Pin},
        sys,
    },
    network::name_of,
};

/// What is pinned, by interface index.
#[derive(Debug, Default)]
pub struct Pinned(BTreeMap<IfIndex, Vec<(PathBuf, Pin)>>);

impl Attacher {
    /// What is pinned for interfaces, listed once for all that are to be detached from.
    pub fn pinned(&self) -> Result<Pinned> {
        let mut pinned = Pinned::default();
        for (path, pin) in self.pins.list()? {
            if let Some(interface) = pin.interface() {
                pinned.0.entry(interface).or_default().push((path, pin));
            }
        }
        Ok(pinned)
    }

    /// Takes the programs of a role off an interface, and the qdisc with the last one. The interface may be
    /// gone already.
    pub async fn detach(&self, pinned: &mut Pinned, interface: IfIndex, role: Role) -> Result<()> {
        let pins = pinned.0.remove(&interface).unwrap_or_default();
        let (mut gone, mut rest): (Vec<_>, Vec<_>) =
            pins.into_iter().partition(|(_, pin)| pin.place() == Some((interface, role)));
        // XDP goes first: it is never there without the programs that do what it passes on.
        gone.sort_by_key(|(_, pin)| !matches!(pin, Pin::Xdp(..)));
        if !rest.iter().any(|(_, pin)| matches!(pin, Pin::Tc(Mode::Clsact, ..))) {
            gone.extend(rest.extract_if(.., |(_, pin)| matches!(pin, Pin::Qdisc(_))));
        }
        pinned.0.insert(interface, rest);
        // It may have come back from another namespace.
        let name = name_of(interface);
        for (path, pin) in gone {
            self.remove(&path, pin, name.as_deref()).await?;
        }
        Ok(())
    }

    /// Takes everything off and removes all pins, of every version.
    pub async fn detach_all(&self) -> Result<()> {
        let mut pins = self.pins.list_all_versions().context("cannot list what is pinned")?;
        // What sends packets to uplinks goes first. Egress goes before ingress, so that no packet is translated
        // whose reply would not be; qdiscs go last.
        pins.sort_by_key(|(_, pin)| match pin {
            Pin::Xdp(..) => 0,
            Pin::Tc(.., hook) => match hook {
                Hook::PortIngress | Hook::PortEgress => 0,
                Hook::Inside => 1,
                Hook::Egress => 2,
                Hook::Ingress => 3,
            },
            Pin::Qdisc(_) => 4,
            Pin::Other => 5,
        });
        for (path, pin) in pins {
            let name = pin.interface().and_then(name_of);
            self.remove(&path, pin, name.as_deref()).await?;
        }
        self.pins.remove()
    }

    pub(super) async fn remove(&self, path: &Path, pin: Pin, name: Option<&str>) -> Result<()> {
        match (pin, name) {
            // Another one with this number, of an interface that has come in the place of ours, stays.
            (Pin::Tc(Mode::Clsact, ..), Some(_)) if matches!(self.program_at(path, pin).await, Ok(None)) => {}
            (Pin::Tc(Mode::Clsact, _, hook), Some(name)) => match our_filter(name, hook)?.detach() {
                Err(error) if is_gone(&error) => {}
                other => other.with_context(|| format!("cannot detach from {name}"))?,
            },
            (Pin::Qdisc(interface), Some(name)) => self.remove_qdisc(interface, name).await?,
            (Pin::Tc(Mode::Tcx, interface, _) | Pin::Xdp(interface, _), _) => {
                match sys::detach_pinned_link(path) {
                    // The interface that the link was of is gone, and this is another one with its number.
                    Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                    other => other.with_context(|| format!("cannot detach from interface {interface}"))?,
                }
            }
            _ => {}
        }
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Removes the clsact qdisc that we added, unless somebody else has filters on it by now.
    async fn remove_qdisc(&self, interface: IfIndex, name: &str) -> Result<()> {
        for side in Side::BOTH {
            if !self.filters(interface, side).await?.is_empty() {
                tracing::info!("the clsact qdisc of {name} stays: others have filters on it");
                return Ok(());
            }
        }
        let mut request = self.requests.handle().qdisc().del(interface.number().cast_signed());
        request.message_mut().header.parent = TcHandle::CLSACT;
        match request.execute().await {
            Err(error) if matches!(answered(&error), libc::ENOENT | libc::EINVAL) => Ok(()),
            other => other.with_context(|| format!("cannot remove the clsact qdisc of {name}")),
        }
    }
}
