//! What the first process of a pod does: it changes into the pod's root, and then waits for orphans.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::wait;
use nix::unistd::{chdir, pivot_root, sethostname};

use super::cgroups;

/// Devices that every host has, and those of what runs there: name, major and minor number.
const DEVICES: [(&str, u64, u64); 8] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
];

/// Where the layer of the pod is until it has changed into its root.
const LAYER: &str = "/sys/fs/bpf";

/// In the mount, PID, UTS and IPC namespaces of the pod. `args` are its root file system, its name, that of its control
/// group, and what is bound into it, as `SOURCE:TARGET`. Writes `ready` to standard output.
pub fn first_process(args: &[String]) -> Result<Infallible> {
    let [root, name, group, binds @ ..] = args else {
        bail!("usage: pod ROOT NAME GROUP [SOURCE:TARGET]…; hosts are started by `cargo xtask hosts`")
    };
    let groups = cgroups::enter(group).context("control groups")?;
    let new = mount_root(Path::new(root))?;
    mount_kernel(&new)?;
    devices(&new.join("dev")).context("devices")?;
    groups.mount(&new.join("sys/fs/cgroup")).context("control groups")?;
    for bind in binds {
        let (source, target) = bind.split_once(':').with_context(|| format!("{bind} is no SOURCE:TARGET"))?;
        bind_mount(Path::new(source), &new.join(target.trim_start_matches('/')))
            .with_context(|| format!("cannot bind {bind}"))?;
    }
    sethostname(name)?;
    fs::write(new.join("etc/hostname"), format!("{name}\n"))?;
    fs::write(new.join("etc/hosts"), format!("127.0.0.1 localhost {name}\n"))?;

    chdir(&new)?;
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    // Engines of containers pass mounts on.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)?;
    println!("ready");
    io::stdout().flush()?;
    loop {
        if wait().is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Mounts the root with a layer above it that is in memory; returns where.
fn mount_root(root: &Path) -> Result<PathBuf> {
    // Of this mount namespace alone, and nobody has files there.
    let layer = Path::new(LAYER);
    mount(Some("pod"), layer, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("tmpfs")?;
    for folder in ["upper", "work", "root"] {
        fs::create_dir(layer.join(folder))?;
    }
    let options = format!("lowerdir={},upperdir={LAYER}/upper,workdir={LAYER}/work", root.display());
    let new = layer.join("root");
    mount(Some("pod"), &new, Some("overlay"), MsFlags::empty(), Some(&*options))
        .with_context(|| format!("cannot mount {}", root.display()))?;
    Ok(new)
}

fn mount_kernel(root: &Path) -> Result<()> {
    let mounts = [
        ("proc", "proc", None),
        ("sysfs", "sys", None),
        ("tmpfs", "run", Some("mode=755")),
        ("tmpfs", "tmp", Some("mode=1777")),
        ("tmpfs", "dev", Some("mode=755")),
        // File systems of containers lie above each other, and overlays do not lie above overlays.
        ("tmpfs", "var/lib/docker", None),
        ("tmpfs", "var/lib/containerd", None),
        ("tmpfs", "var/lib/containers", None),
        ("bpf", "sys/fs/bpf", None),
    ];
    for (kind, target, options) in mounts {
        let target = root.join(target);
        fs::create_dir_all(&target)?;
        mount(Some(kind), &target, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("cannot mount {kind} on {}", target.display()))?;
    }
    fs::create_dir_all(root.join("run/lock"))?;
    fs::create_dir_all(root.join("run/netns"))?;
    Ok(())
}

fn devices(dev: &Path) -> Result<()> {
    for folder in ["net", "pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(folder))?;
    }
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    let terminals = Some("newinstance,ptmxmode=0666,mode=0620");
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), MsFlags::empty(), terminals)?;
    mount(Some("tmpfs"), &dev.join("shm"), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("fd/0", "stdin"),
        ("fd/1", "stdout"),
        ("fd/2", "stderr"),
    ];
    Ok(links.into_iter().try_for_each(|(target, name)| symlink(target, dev.join(name)))?)
}

fn bind_mount(source: &Path, target: &Path) -> Result<()> {
    if source.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        target.parent().map(fs::create_dir_all).transpose()?;
        File::create(target)?;
    }
    Ok(mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?)
}
