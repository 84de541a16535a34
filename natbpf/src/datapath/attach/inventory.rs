//! What is attached, by the pins.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;

use crate::datapath::{Hook, Pins, Role, pins::Pin, sys};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Tcx,
    Clsact,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// One program on one hook.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Interface index.
    pub interface: u32,
    pub hook: Hook,
    pub mode: Mode,
    /// The kernel's number of the program.
    pub program: u32,
}

/// What is attached, by the pins.
pub fn attachments(pins: &Pins) -> Result<Vec<Attachment>> {
    let mut all = Vec::new();
    for (path, pin) in pins.list().context("cannot list what is pinned")? {
        let (interface, hook, mode, program) = match pin {
            Pin::Tcx(interface, hook) => (interface, hook, Mode::Tcx, program_of(&path)),
            Pin::Clsact(interface, hook) => {
                (interface, hook, Mode::Clsact, ProgramInfo::from_pin(&path).ok().map(|program| program.id()))
            }
            _ => continue,
        };
        if let Some(program) = program {
            all.push(Attachment { interface, hook, mode, program });
        }
    }
    Ok(all)
}

/// Interface indexes and roles of everything that something is pinned for.
pub fn attached(pins: &Pins) -> Result<BTreeSet<(u32, Role)>> {
    let pins = pins.list().context("cannot list what is pinned")?;
    let mut attached = BTreeSet::new();
    for (_, pin) in &pins {
        match pin {
            Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => {
                attached.insert((*interface, hook.role()));
            }
            Pin::Xdp(interface, role) => {
                attached.insert((*interface, *role));
            }
            Pin::Qdisc(_) | Pin::Other => {}
        }
    }
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
pub fn complete(pins: &Pins) -> Result<BTreeSet<(u32, Role)>> {
    let pins = pins.list().context("cannot list what is pinned")?;
    let hooks: Vec<(u32, Hook)> = pins
        .iter()
        .filter_map(|(_, pin)| match pin {
            Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => Some((*interface, *hook)),
            _ => None,
        })
        .collect();
    let mut counted: BTreeMap<(u32, Role), usize> = BTreeMap::new();
    for (interface, hook) in hooks {
        *counted.entry((interface, hook.role())).or_default() += 1;
    }
    let whole = |((interface, role), count): ((u32, Role), usize)| {
        (count == role.hooks().len()).then_some((interface, role))
    };
    Ok(counted.into_iter().filter_map(whole).collect())
}

/// The program of a pinned link.
pub(super) fn program_of(path: &Path) -> Option<u32> {
    sys::pinned_link(path).ok().flatten().map(|link| link.program)
}
