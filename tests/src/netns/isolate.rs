//! A mount namespace for the calling thread, with its own `/run/netns` and bpffs.
//!
//! The kernel keeps mount namespaces a thread, not a process: `unshare(CLONE_NEWNS)` also ends the sharing of
//! the file system context with the other threads, so it is allowed in a process with many, and affects the
//! caller alone. Threads and processes that the caller starts later inherit it. When the last of them is gone
//! the mounts go, and with the mounts the network namespaces and pinned BPF objects that only they held.

use std::cell::Cell;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::MutexGuard;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const NETNS_DIR: &str = "/run/netns";
const BPFFS: &str = "/sys/fs/bpf";

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Shared) };
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Shared,
    Idle,
    InUse,
}

/// Where the private bpffs of an isolated thread is mounted.
pub fn bpffs() -> &'static Path {
    Path::new(BPFFS)
}

/// The private mounts of a thread; dropping it unmounts them.
#[derive(Debug)]
pub struct Isolation {
    // Sync but not Send, as a guard of a mutex is: the mounts belong to the thread that made them.
    _thread: PhantomData<MutexGuard<'static, ()>>,
}

/// Gives the calling thread a private `/run/netns` and bpffs.
///
/// # Errors
/// Without root, on a kernel without bpffs, and while the thread already has an [`Isolation`].
pub fn isolate() -> Result<Isolation> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a lab makes network namespaces and loads BPF programs, which needs root: run it with sudo");
    }
    match STATE.get() {
        State::InUse => bail!("this thread already has a lab: drop it before making another one"),
        State::Idle => {}
        State::Shared => {
            unshare(CloneFlags::CLONE_NEWNS)
                .context("cannot make a mount namespace (is CAP_SYS_ADMIN missing?)")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .context("cannot make the mounts of the lab private")?;
            STATE.set(State::Idle);
        }
    }
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("cannot make {NETNS_DIR}"))?;
    mount_new("tmpfs", NETNS_DIR)?;
    if let Err(error) = mount_new("bpf", BPFFS) {
        unmount(NETNS_DIR);
        return Err(error.context("a lab needs a kernel with BPF (CONFIG_BPF_SYSCALL)"));
    }
    STATE.set(State::InUse);
    Ok(Isolation { _thread: PhantomData })
}

impl Drop for Isolation {
    fn drop(&mut self) {
        unmount(BPFFS);
        unmount(NETNS_DIR);
        STATE.set(State::Idle);
    }
}

fn mount_new(kind: &str, target: &str) -> Result<()> {
    mount(Some("natbpf-lab"), target, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a {kind} on {target}"))
}

fn unmount(target: &str) {
    if let Err(error) = umount2(target, MntFlags::MNT_DETACH) {
        eprintln!("lab: cannot unmount {target}: {error}");
    }
}
