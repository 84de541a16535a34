//! Network namespaces: programs, closures and sockets inside them.

pub mod agent;
pub mod classid;
pub mod counters;
pub(crate) mod isolate;
pub mod link;
pub mod state;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};

use crate::process::Cmd;

/// A network namespace. One that was made here has a name in `/run/netns`, which is removed when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    pub(crate) netns: Arc<OwnedFd>,
    made_here: bool,
}

impl Namespace {
    /// Makes the namespace, without IPv6 (whose router and neighbour discovery is noise in a capture) and
    /// with `lo` up. The calling thread should be isolated ([`crate::isolate`]): the name is its own then.
    pub fn new(name: &str) -> Result<Self> {
        Cmd::new("ip").args(["netns", "add", name]).run()?;
        let netns = open(Path::new(&format!("/run/netns/{name}")))?;
        let namespace = Self { name: name.to_owned(), netns, made_here: true };
        if fs::exists("/proc/sys/net/ipv6")? {
            namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// One that somebody else has made: a file that stands for it, such as `/proc/PID/ns/net`.
    pub fn of_others(name: &str, file: &Path) -> Result<Self> {
        Ok(Self { name: name.to_owned(), netns: open(file)?, made_here: false })
    }

    /// Switches IPv6 on, for devices that are made after it. Addresses can be used at once, without the search for
    /// another who has them, and nobody asks for routers.
    pub fn with_ipv6(self) -> Result<Self> {
        for of in ["all", "default"] {
            for (name, value) in [("accept_dad", "0"), ("router_solicitations", "0"), ("disable_ipv6", "0")] {
                self.sysctl(&format!("net.ipv6.conf.{of}.{name}"), value)?;
            }
        }
        Ok(self)
    }

    /// The name as `ip netns list` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program that will run inside.
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        Cmd::in_netns(program, self.netns.clone())
    }

    /// Runs `ip` once for all lines of `commands`, each an `ip` command line without the `ip`.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let (reader, mut writer) = io::pipe()?;
        let process = self.cmd("ip").args(["-batch", "-"]).stdin(Stdio::from(reader)).spawn()?;
        io::Write::write_all(&mut writer, commands.as_bytes())?;
        drop(writer);
        let output = process.finish(Duration::from_secs(20))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "`ip` failed in {} on one of\n{commands}\n{complaint}",
            self.name
        );
        Ok(())
    }

    /// Runs `work` on a thread inside and returns its value. Sockets that it makes stay in the namespace
    /// wherever they are used later; programs that it starts die with the thread, use [`Namespace::cmd`] for
    /// those.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                setns(self.netns.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter the namespace {}", self.name))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// As [`Namespace::enter`], on a thread with a table of open files of its own, empty but for the standard
    /// streams: what a process may have open at most counts for each table. Nothing opened elsewhere can be
    /// used in `work`.
    pub fn enter_without_files<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter(|| {
            // SAFETY: the copies of the descriptors that it closes are nobody's, the originals stay with the
            // other threads.
            let done =
                unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE as libc::c_int) };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(work()) }
        })?
        .context("cannot have a file table of its own for a thread")
    }

    /// A UDP socket inside, bound to `address`, that waits one second for a datagram.
    pub fn udp(&self, address: impl ToSocketAddrs + Send) -> Result<UdpSocket> {
        let socket = self.enter(move || patiently(|| UdpSocket::bind(&address)))??;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket)
    }

    pub fn tcp_listener(&self, address: impl ToSocketAddrs + Send) -> Result<TcpListener> {
        Ok(self.enter(move || patiently(|| TcpListener::bind(&address)))??)
    }

    pub fn tcp_connect(&self, address: impl ToSocketAddrs + Send) -> Result<TcpStream> {
        Ok(self.enter(|| TcpStream::connect(address))??)
    }

    /// Sets `name`, dotted as sysctl(8) has it.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("cannot set {name} to {value} in {}", self.name))
    }

    /// The text of a file that differs from namespace to namespace, such as those of `/proc/sys/net`. Those
    /// of `/proc/net` must be named as `/proc/thread-self/net`: the former is the main thread's.
    pub fn read(&self, path: &str) -> Result<String> {
        self.enter(|| fs::read_to_string(path))?
            .with_context(|| format!("cannot read {path} in {}", self.name))
    }
}

fn open(file: &Path) -> Result<Arc<OwnedFd>> {
    let netns = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Arc::new(netns.into()))
}

/// Tries again for half a second while the address is in use. A port that was just given up may be held for a moment
/// longer by a program that another thread is starting: it has every socket from its fork until its exec.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + Duration::from_millis(500);
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.made_here {
            return;
        }
        // What `ip netns del` does; a program would not run any more after a Ctrl-C.
        let path = format!("/run/netns/{}", self.name);
        let gone = umount2(path.as_str(), MntFlags::MNT_DETACH).map_err(io::Error::from);
        if let Err(error) = gone.and_then(|()| fs::remove_file(&path)) {
            eprintln!("lab: cannot remove {path}: {error}");
        }
    }
}
