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
//!     LEFT_OUT                      a note for `natbpf status`
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;
use natbpf_common::contract::SCHEMA;
use nix::fcntl::{Flock, FlockArg};

use super::{Hook, Role};

const NATBPF: &str = "natbpf";
const TCX: &str = "tcx";
const XDP: &str = "xdp";
const CLSACT: &str = "clsact";
const QDISC: &str = "qdisc";
const UPLINK: &str = "uplink";
const PORT: &str = "port";

/// The pins of an instance.
#[derive(Clone, Debug)]
pub struct Pins {
    instance: PathBuf,
}

/// What a pin stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A TCX link.
    Tcx(u32, Hook),
    /// A link of XDP, of an uplink or a port.
    Xdp(u32, Role),
    /// A filter of the clsact qdisc.
    Clsact(u32, Hook),
    /// A clsact qdisc.
    Qdisc(u32),
    /// A map, or a program that is not attached.
    Other,
}

impl Pin {
    /// Index of the interface that it is for.
    pub const fn interface(self) -> Option<u32> {
        match self {
            Self::Tcx(interface, _)
            | Self::Xdp(interface, _)
            | Self::Clsact(interface, _)
            | Self::Qdisc(interface) => Some(interface),
            Self::Other => None,
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

    pub fn tcx(&self, interface: u32, hook: Hook) -> PathBuf {
        self.path(&format!("{TCX}_{interface}_{hook}"))
    }

    /// Of an uplink or a port.
    pub fn xdp(&self, interface: u32, role: Role) -> PathBuf {
        let role = if role == Role::Uplink { UPLINK } else { PORT };
        self.path(&format!("{XDP}_{interface}_{role}"))
    }

    pub fn clsact(&self, interface: u32, hook: Hook) -> PathBuf {
        self.path(&format!("{CLSACT}_{interface}_{hook}"))
    }

    pub fn qdisc(&self, interface: u32) -> PathBuf {
        self.path(&format!("{QDISC}_{interface}"))
    }

    /// Whether this version has pinned anything.
    pub fn exist(&self) -> bool {
        self.folder().is_dir()
    }

    /// Everything pinned by this version.
    pub fn list(&self) -> io::Result<Vec<(PathBuf, Pin)>> {
        list(&self.folder())
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
        match fs::remove_dir(&self.instance) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", self.instance.display()));
            }
            _ => {}
        }
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
    match fs::read_dir(instance) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn list(folder: &Path) -> io::Result<Vec<(PathBuf, Pin)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.path(), parse(&entry.file_name().to_string_lossy())))
        })
        .collect()
}

fn parse(name: &str) -> Pin {
    let mut parts = name.split('_');
    let mut next = || parts.next();
    let (kind, interface, last) = (next(), next().and_then(|number| number.parse().ok()), next());
    match (kind, interface, last) {
        (Some(XDP), Some(interface), Some(UPLINK)) => return Pin::Xdp(interface, Role::Uplink),
        (Some(XDP), Some(interface), Some(PORT)) => return Pin::Xdp(interface, Role::Port),
        _ => {}
    }
    match (kind, interface, last.and_then(Hook::from_name)) {
        (Some(TCX), Some(interface), Some(hook)) => Pin::Tcx(interface, hook),
        (Some(CLSACT), Some(interface), Some(hook)) => Pin::Clsact(interface, hook),
        (Some(QDISC), Some(interface), None) => Pin::Qdisc(interface),
        _ => Pin::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_pinned() {
        let pins = Pins::new(Path::new("/b"), "gw");
        let pin = |path: PathBuf| parse(&path.file_name().unwrap_or_default().to_string_lossy());
        assert_eq!(pin(pins.tcx(7, Hook::Egress)), Pin::Tcx(7, Hook::Egress));
        assert_eq!(pin(pins.clsact(7, Hook::Ingress)), Pin::Clsact(7, Hook::Ingress));
        assert_eq!(pin(pins.tcx(8, Hook::Inside)), Pin::Tcx(8, Hook::Inside));
        assert_eq!(pin(pins.tcx(7, Hook::PortIngress)), Pin::Tcx(7, Hook::PortIngress));
        assert_eq!(pins.tcx(7, Hook::PortIngress).file_name().unwrap(), "tcx_7_port-ingress");
        for hook in Hook::ALL {
            assert_eq!(pin(pins.clsact(9, hook)), Pin::Clsact(9, hook));
        }
        for role in [Role::Uplink, Role::Port] {
            assert_eq!(pin(pins.xdp(7, role)), Pin::Xdp(7, role));
        }
        assert_eq!(pins.xdp(7, Role::Port).file_name().unwrap(), "xdp_7_port");
        assert_eq!(pin(pins.qdisc(7)), Pin::Qdisc(7));
        for other in ["FLOWS", "reap", "tcx_x_egress", "tcx_7_sideways", "qdisc", "xdp_7_egress", "xdp_port"]
        {
            assert_eq!(parse(other), Pin::Other, "{other}");
        }
        assert_eq!(pins.path("FLOWS"), Path::new(&format!("/b/natbpf/gw/v{SCHEMA}/FLOWS")));
    }
}
