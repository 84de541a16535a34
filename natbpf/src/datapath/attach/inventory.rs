//! What is attached, by the pins.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Result;
use aya::programs::ProgramInfo;
use natbpf_common::IfIndex;

use crate::datapath::{
    Hook, Pins, Role,
    pins::{Mode, Pin},
    sys,
};

/// One program on one hook.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Interface index.
    pub interface: IfIndex,
    pub hook: Hook,
    pub mode: Mode,
    /// The kernel's number of the program.
    pub program: u32,
}

/// What is attached, by the pins.
pub fn attachments(pins: &Pins) -> Result<Vec<Attachment>> {
    let attachment = |(path, pin): (PathBuf, Pin)| {
        let Pin::Tc(mode, interface, hook) = pin else { return None };
        let program = match mode {
            Mode::Tcx => program_of(&path),
            Mode::Clsact => ProgramInfo::from_pin(&path).ok().map(|program| program.id()),
        };
        Some(Attachment { interface, hook, mode, program: program? })
    };
    Ok(pins.list()?.into_iter().filter_map(attachment).collect())
}

/// Interface indexes and roles of everything that something is pinned for.
pub fn attached(pins: &Pins) -> Result<BTreeSet<(IfIndex, Role)>> {
    let pins = pins.list()?;
    let mut attached: BTreeSet<(IfIndex, Role)> = pins.iter().filter_map(|(_, pin)| pin.place()).collect();
    // A qdisc alone is what is left of a start that was killed.
    for (_, pin) in pins {
        if let Pin::Qdisc(interface) = pin
            && !attached.iter().any(|(known, _)| *known == interface)
        {
            attached.insert((interface, Role::Uplink));
        }
    }
    Ok(attached)
}

/// Interface indexes and roles of what is pinned for every hook of the role.
pub fn complete(pins: &Pins) -> Result<BTreeSet<(IfIndex, Role)>> {
    let mut counted: BTreeMap<(IfIndex, Role), usize> = BTreeMap::new();
    for (_, pin) in pins.list()? {
        if let Pin::Tc(_, interface, hook) = pin {
            *counted.entry((interface, hook.role())).or_default() += 1;
        }
    }
    counted.retain(|(_, role), count| *count == role.hooks().len());
    Ok(counted.into_keys().collect())
}

/// The program of a pinned link.
pub(super) fn program_of(path: &Path) -> Option<u32> {
    sys::pinned_link(path).ok().flatten().map(|link| link.program)
}
