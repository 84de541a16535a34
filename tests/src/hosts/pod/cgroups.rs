//! Control groups of a pod, of either version: a group of its own, which is the root that its processes see.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const MOUNTS: &str = "/sys/fs/cgroup";

/// Version 1: those that engines of containers insist on. `memory` is left out: a group that has had much stays for
/// long after its end.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio", "pids"];

/// What this process is in.
#[derive(Debug)]
pub enum Groups {
    /// Version 1, a hierarchy for each controller.
    Each(Vec<&'static str>),
    /// Version 2.
    Unified,
}

/// Puts this process into a group of its own in each hierarchy, and makes that the root.
pub fn enter(name: &str) -> Result<Groups> {
    let groups = if Path::new(MOUNTS).join("cgroup.controllers").exists() {
        join(&Path::new(MOUNTS).join(name), false)?;
        Groups::Unified
    } else {
        let mut there = Vec::new();
        for controller in CONTROLLERS {
            let hierarchy = Path::new(MOUNTS).join(controller);
            if hierarchy.join("cgroup.procs").exists() {
                join(&hierarchy.join(name), controller == "cpuset")?;
                there.push(controller);
            }
        }
        if there.is_empty() {
            bail!("there are no control groups in {MOUNTS}, which engines of containers need");
        }
        Groups::Each(there)
    };
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    Ok(groups)
}

fn join(group: &PathBuf, is_cpuset: bool) -> Result<()> {
    fs::create_dir_all(group).with_context(|| format!("cannot make {}", group.display()))?;
    if is_cpuset {
        // A new group has no processor and no memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(group.join(file), fs::read(group.with_file_name(file))?)?;
        }
    }
    fs::write(group.join("cgroup.procs"), "0").with_context(|| format!("cannot enter {}", group.display()))
}

impl Groups {
    /// Mounts them for the pod.
    pub fn mount(&self, target: &Path) -> Result<()> {
        match self {
            Self::Each(controllers) => {
                mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
                for controller in controllers {
                    let target = target.join(controller);
                    fs::create_dir(&target)?;
                    mount(Some("cgroup"), &target, Some("cgroup"), MsFlags::empty(), Some(*controller))?;
                }
            }
            Self::Unified => {
                mount(Some("cgroup2"), target, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
                // Nobody may be in a group that gives controllers to those below it.
                join(&target.join("init"), false)?;
                let there = fs::read_to_string(target.join("cgroup.controllers"))?;
                let on: Vec<_> =
                    there.split_whitespace().map(|controller| format!("+{controller}")).collect();
                fs::write(target.join("cgroup.subtree_control"), on.join(" "))?;
            }
        }
        Ok(())
    }
}

/// Removes the groups of a pod that has ended, as far as nobody is in them.
pub fn remove(name: &str) {
    let hierarchies = CONTROLLERS.iter().map(|controller| Path::new(MOUNTS).join(controller));
    for hierarchy in hierarchies.chain([PathBuf::from(MOUNTS)]) {
        remove_below(&hierarchy.join(name));
    }
}

fn remove_below(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_below(&entry.path());
    }
    // Its last processes may be on their way out; then it stays, empty.
    let _ = fs::remove_dir(group);
}
