//! Where everything is pinned, so that it outlives the daemon.
//!
//! ```text
//! BPFFS/natbpf/INSTANCE/            locked by the daemon
//! BPFFS/natbpf/INSTANCE/vSCHEMA/    locked by a watcher of flows
//!     FLOWS, MAPPINGS, …            maps
//!     reap                          a program that is run, not attached
//!     tcx_IFINDEX_HOOK              links
//!     xdp_IFINDEX_port, …_uplink    links of XDP
//!     clsact_IFINDEX_HOOK           programs attached by a filter: the pin says that the filter is ours
//!     qdisc_IFINDEX                 a program; the pin says that the clsact qdisc is ours
//!     LEFT_OUT, OBSTACLES           notes for `natbpf status`
//! ```

use std::{
    fs::{self, DirEntry, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;
use natbpf_common::{IfIndex, contract::SCHEMA};
use nix::fcntl::{Flock, FlockArg};

use super::{Hook, Role, sys::if_there};

const NATBPF: &str = "natbpf";
const XDP: &str = "xdp";
const QDISC: &str = "qdisc";

/// The pins of an instance.
#[derive(Clone, Debug)]
pub struct Pins {
    instance: PathBuf,
}

/// How a program of TC is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a link.
    Tcx,
    /// By a filter of the clsact qdisc.
    Clsact,
}

/// What a pin stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    Tc(Mode, IfIndex, Hook),
    /// A link of XDP, of an uplink or a port.
    Xdp(IfIndex, Role),
    /// A clsact qdisc.
    Qdisc(IfIndex),
    /// A map, or a program that is not attached.
    Other,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl Pin {
    /// Index of the interface that it is for.
    pub const fn interface(self) -> Option<IfIndex> {
        match self {
            Self::Tc(_, interface, _) | Self::Xdp(interface, _) | Self::Qdisc(interface) => Some(interface),
            Self::Other => None,
        }
    }

    /// That of a program of TC.
    pub const fn hook(self) -> Option<Hook> {
        if let Self::Tc(.., hook) = self { Some(hook) } else { None }
    }

    /// Index and role of the interface whose program it is.
    pub const fn place(self) -> Option<(IfIndex, Role)> {
        match self {
            Self::Tc(_, interface, hook) => Some((interface, hook.role())),
            Self::Xdp(interface, role) => Some((interface, role)),
            Self::Qdisc(_) | Self::Other => None,
        }
    }
}

impl Pins {
    pub fn new(bpffs: &Path, instance: &str) -> Self {
        Self { instance: bpffs.join(NATBPF).join(instance) }
    }

    /// The folder of this version's pins.
    pub fn folder(&self) -> PathBuf {
        self.instance.join(format!("v{SCHEMA}"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn tcx(&self, interface: IfIndex, hook: Hook) -> PathBuf {
        self.tc(Mode::Tcx, interface, hook)
    }

    pub fn clsact(&self, interface: IfIndex, hook: Hook) -> PathBuf {
        self.tc(Mode::Clsact, interface, hook)
    }

    fn tc(&self, mode: Mode, interface: IfIndex, hook: Hook) -> PathBuf {
        self.path(&format!("{}_{interface}_{hook}", mode.name()))
    }

    /// For an uplink or a port.
    pub fn xdp(&self, interface: IfIndex, role: Role) -> PathBuf {
        self.path(&format!("{XDP}_{interface}_{}", role.name()))
    }

    pub fn qdisc(&self, interface: IfIndex) -> PathBuf {
        self.path(&format!("{QDISC}_{interface}"))
    }

    /// Whether this version has pinned anything.
    pub fn exist(&self) -> bool {
        self.folder().is_dir()
    }

    /// Everything pinned by this version.
    pub fn list(&self) -> Result<Vec<(PathBuf, Pin)>> {
        list(&self.folder()).context("cannot list what is pinned")
    }

    /// Everything pinned by any version.
    pub fn list_all_versions(&self) -> io::Result<Vec<(PathBuf, Pin)>> {
        let mut all = Vec::new();
        for version in versions(&self.instance)? {
            all.extend(list(&version)?);
        }
        Ok(all)
    }

    /// Refuses if another version's state is there.
    pub fn check_version(&self) -> Result<()> {
        let ours = self.folder();
        match versions(&self.instance)?.into_iter().find(|version| *version != ours) {
            Some(other) => bail!(
                "{} holds the state of another version of natbpf, whose layout this one cannot read; \
                 remove it with `natbpf detach` (its flows end)",
                other.display()
            ),
            None => Ok(()),
        }
    }

    /// Makes the folders.
    pub fn create(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))
    }

    /// Removes what is left of all versions and the folders.
    pub fn remove(&self) -> Result<()> {
        for (path, _) in self.list_all_versions()? {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        for version in versions(&self.instance)? {
            fs::remove_dir(&version).with_context(|| format!("cannot remove {}", version.display()))?;
        }
        if_there(fs::remove_dir(&self.instance))
            .with_context(|| format!("cannot remove {}", self.instance.display()))?;
        // The last instance takes the common folder with it.
        if let Some(natbpf) = self.instance.parent() {
            let _ = fs::remove_dir(natbpf);
        }
        Ok(())
    }

    /// Locks the instance for the daemon. The lock goes with the process.
    pub fn lock(&self) -> Result<Option<Flock<File>>> {
        fs::create_dir_all(&self.instance)
            .with_context(|| format!("cannot make {}", self.instance.display()))?;
        for _ in 0..5 {
            if let Some(lock) = lock(&self.instance)? {
                return Ok(Some(lock));
            }
            // `natbpf status` may have it for a moment, to see whether it can be had.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    /// Whether a daemon has the instance.
    pub fn locked(&self) -> Result<bool> {
        Ok(self.instance.is_dir() && lock(&self.instance)?.is_none())
    }

    /// Locks what a trace asks for, while it is looked at and changed.
    pub fn lock_request(&self) -> Result<Flock<File>> {
        // Nobody else locks this folder.
        let common = self.instance.parent().context("an instance is in a folder")?;
        for _ in 0..50 {
            if let Some(lock) = lock(common)? {
                return Ok(lock);
            }
            // Others have it for a moment.
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("another program has locked {}", common.display())
    }

    /// Locks the stream of events for one watcher.
    pub fn lock_events(&self) -> Result<Option<Flock<File>>> {
        lock(&self.folder())
    }
}

/// Opens a map that is pinned.
pub fn open(path: &Path) -> Result<MapData> {
    MapData::from_pin(path).with_context(|| format!("cannot open the pinned map {}", path.display()))
}

fn lock(folder: &Path) -> Result<Option<Flock<File>>> {
    let file = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", folder.display())),
    }
}

fn versions(instance: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = if_there(fs::read_dir(instance))?.into_iter().flatten();
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn list(folder: &Path) -> io::Result<Vec<(PathBuf, Pin)>> {
    let entries = if_there(fs::read_dir(folder))?.into_iter().flatten();
    let pin = |entry: DirEntry| (entry.path(), parse(&entry.file_name().to_string_lossy()));
    entries.map(|entry| entry.map(pin)).collect()
}

fn parse(name: &str) -> Pin {
    let mut parts = name.split('_');
    let kind = parts.next().unwrap_or_default();
    let Some(interface) = parts.next().and_then(|number| number.parse().ok()).map(IfIndex::new) else {
        return Pin::Other;
    };
    let last = parts.next();
    let hook = last.and_then(Hook::from_name);
    if let Some(mode) = [Mode::Tcx, Mode::Clsact].into_iter().find(|mode| mode.name() == kind) {
        return hook.map_or(Pin::Other, |hook| Pin::Tc(mode, interface, hook));
    }
    let role = [Role::Uplink, Role::Port].into_iter().find(|role| last == Some(role.name()));
    match (kind, role) {
        (XDP, Some(role)) => Pin::Xdp(interface, role),
        (QDISC, _) if hook.is_none() => Pin::Qdisc(interface),
        _ => Pin::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_pinned() {
        let index = IfIndex::new;
        let pins = Pins::new(Path::new("/b"), "gw");
        let pin = |path: PathBuf| parse(&path.file_name().unwrap_or_default().to_string_lossy());
        assert_eq!(pin(pins.tcx(index(7), Hook::Egress)), Pin::Tc(Mode::Tcx, index(7), Hook::Egress));
        assert_eq!(pin(pins.clsact(index(7), Hook::Ingress)), Pin::Tc(Mode::Clsact, index(7), Hook::Ingress));
        assert_eq!(pin(pins.tcx(index(8), Hook::Inside)), Pin::Tc(Mode::Tcx, index(8), Hook::Inside));
        assert_eq!(
            pin(pins.tcx(index(7), Hook::PortIngress)),
            Pin::Tc(Mode::Tcx, index(7), Hook::PortIngress)
        );
        assert_eq!(pins.tcx(index(7), Hook::PortIngress).file_name().unwrap(), "tcx_7_port-ingress");
        for hook in Hook::ALL {
            assert_eq!(pin(pins.clsact(index(9), hook)), Pin::Tc(Mode::Clsact, index(9), hook));
        }
        for role in [Role::Uplink, Role::Port] {
            assert_eq!(pin(pins.xdp(index(7), role)), Pin::Xdp(index(7), role));
        }
        assert_eq!(pins.xdp(index(7), Role::Port).file_name().unwrap(), "xdp_7_port");
        assert_eq!(pin(pins.qdisc(index(7))), Pin::Qdisc(index(7)));
        for other in ["FLOWS", "reap", "tcx_x_egress", "tcx_7_sideways", "qdisc", "xdp_7_egress", "xdp_port"]
        {
            assert_eq!(parse(other), Pin::Other, "{other}");
        }
        assert_eq!(pins.path("FLOWS"), Path::new(&format!("/b/natbpf/gw/v{SCHEMA}/FLOWS")));
    }
}
