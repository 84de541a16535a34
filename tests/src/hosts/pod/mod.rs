//! A pod: a host with a root file system, processes, mounts and control groups of its own, in a network namespace of
//! the lab. What its processes do there stays there, and all of it ends with its first process.

mod cgroups;
mod first;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::gateway::natbpf::{Cli, INSTANCE, binary};
use crate::netns::Namespace;
use crate::process::{Cmd, Process, Stream};

pub use first::first_process;

const READY: Duration = Duration::from_secs(20);

/// Where natbpf is in each pod.
const NATBPF: &str = "/usr/local/bin/natbpf";

/// A running one; dropping it ends all that runs in it.
#[derive(Debug)]
pub struct Pod {
    name: String,
    group: String,
    /// Its first process, by the number that this machine knows it by, and as a descriptor.
    pid: u32,
    first: Arc<OwnedFd>,
    outer: Option<Process>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Its first process goes with the outer one, and with that all others.
        drop(self.outer.take());
        let end = Instant::now() + Duration::from_secs(5);
        while Path::new(&format!("/proc/{}", self.pid)).exists() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        cgroups::remove(&self.group);
    }
}

impl Pod {
    /// Starts one over a root file system, which stays as it is: what the pod writes is in memory. `binds` are folders
    /// and files of this machine, with the places where the pod has them.
    pub fn start(network: &Namespace, root: &Path, binds: &[(&Path, &str)]) -> Result<Self> {
        let name = network.name();
        let natbpf = binary()?;
        let program = natbpf.with_file_name("pod");
        ensure!(program.is_file(), "no {}: build it (cargo build -p natbpf-tests --bins)", program.display());
        let group = format!("natbpf-{name}-{}", std::process::id());
        let own = (&*natbpf, NATBPF);
        let binds = binds.iter().chain([&own]);
        let binds = binds.map(|(source, target)| format!("{}:{target}", source.display()));
        let outer = network
            .cmd("unshare")
            .args([
                "--mount",
                "--pid",
                "--ipc",
                "--uts",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .arg(&program)
            .arg(root)
            .args([name, &group])
            .args(binds)
            .spawn()?;
        let ready = outer.wait_for(Stream::Stdout, READY, |line| line == "ready");
        ready.with_context(|| format!("the pod {name} did not start"))?;
        let parent = outer.pid();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let pid = children.trim().parse().with_context(|| format!("children of {parent}: {children:?}"))?;
        Ok(Self { name: name.to_owned(), group, pid, first: Arc::new(descriptor(pid)?), outer: Some(outer) })
    }

    /// A program of the pod.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Cmd {
        Cmd::in_pod(program, self.first.clone())
    }

    /// A program of the pod in another network namespace.
    pub fn cmd_in(&self, namespace: &Namespace, program: impl AsRef<OsStr>) -> Cmd {
        self.program(program).and_netns(namespace.netns.clone())
    }

    /// A script of its shell, which ends at the first command that fails.
    pub fn sh(&self, script: &str) -> Cmd {
        self.program("bash").args(["-e", "-u", "-o", "pipefail", "-c", script])
    }

    /// natbpf's command line in the pod, with the pod's own bpffs.
    pub fn natbpf_cli(&self) -> Cli {
        Cli::in_pod(self.first.clone(), Path::new(NATBPF), INSTANCE)
    }

    /// A file of the pod, by the path that this machine has it by.
    pub fn path(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.pid).into()
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.path(path), text).with_context(|| format!("cannot write {path} of {}", self.name))
    }

    pub fn read(&self, path: &str) -> Result<String> {
        let text =
            fs::read(self.path(path)).with_context(|| format!("cannot read {path} of {}", self.name))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The network namespace of a process of the pod, by the number that the pod knows it by.
    pub fn namespace_of(&self, name: &str, pid: u32) -> Result<Namespace> {
        Namespace::of_others(name, &self.path(&format!("/proc/{pid}/ns/net")))
    }

    /// A named network namespace of the pod.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::of_others(name, &self.path(&format!("/run/netns/{name}")))
    }
}

/// `pidfd_open(2)`
fn descriptor(pid: u32) -> Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    ensure!(descriptor >= 0, "pidfd_open({pid}): {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) })
}
