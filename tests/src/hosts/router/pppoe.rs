//! A line with PPPoE: a provider with pppoe-server, and pppd on the router, both with PPPoE in the kernel.
//!
//! ```text
//!  router │ ppp0 203.0.113.1 ┄┄ PPPoE, 1492 bytes ┄┄ ppp0 │ provider │
//!         │ wan ───────────────────────────────────  line │          │ core ── outside
//! ```

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::ends::tools;
use crate::hosts::outside::{HOST, OUTSIDE};
use crate::netns::Namespace;
use crate::process::wait::wait_until;
use crate::process::{Cmd, Process};

pub const DEVICE: &str = "ppp0";
/// Of an Ethernet frame's 1500 bytes PPPoE takes 6 and PPP 2.
const MTU: u16 = 1492;
/// Headers: an echo's, and a segment's with timestamps.
const IP_AND_ICMP: u16 = 20 + 8;
const IP_AND_TCP: u16 = 20 + 20 + 12;

/// The provider's, on its side of both networks.
const PROVIDER: &str = "203.0.113.254";
/// It routes, and is silent about packets that are too long, as many are. So routers limit TCP's segments.
const RULES: &str = "table ip provider { chain output { type filter hook output priority 0; \
                     icmp type destination-unreachable icmp code frag-needed drop; }; }";

/// What the provider's pppd is told beside what pppoe-server says. A peer that is silent for 10 seconds is gone.
const SERVER: &str = "require-chap\nname provider\nproxyarp\nnodefaultroute\nmtu 1492\nmru 1492\n\
                      lcp-echo-interval 2\nlcp-echo-failure 5\n";
const SECRETS: &str = "home provider password *\n";
/// The router's begins anew when a session ends.
const CLIENT: &str = "plugin pppoe.so nic-wan nodetach noauth user home password password defaultroute mtu 1492 \
                      mru 1492 persist maxfail 0 holdoff 1 lcp-echo-interval 2 lcp-echo-failure 5";

/// Stands between pppoe-server and pppd.
const PPPD: &str = include_str!("pppd.sh");

/// Emulated processors take their time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of the line; dropping it ends their programs.
#[derive(Debug)]
pub struct Line {
    client: Process,
    server: Process,
    /// The one that nobody but the router may end.
    session: Mutex<Option<u64>>,
    _provider: Namespace,
    _folder: TempDir,
}

impl Line {
    /// Joins `core` of the provider with the outside, `wan` of the router with the provider, and waits for a session.
    pub fn begin(router: &Namespace, provider: Namespace) -> Result<Self> {
        provider.ip(&format!("addr add {PROVIDER}/24 dev core"))?;
        provider.sysctl("net.ipv4.ip_forward", "1")?;
        provider.cmd("nft").arg(RULES).run()?;
        router.ip("link add wan type veth peer name line netns provider\nlink set wan up")?;
        provider.ip("link set line up")?;
        for namespace in [router, &provider] {
            namespace.wait_for_carriers()?;
        }
        load_modules()?;
        let folder = folder()?;
        let server = provider.cmd("pppoe-server").args(["-F", "-I", "line", "-N", "1", "-L", PROVIDER, "-R"]);
        let server = server.arg(HOST.to_string()).arg("-q").arg(folder.path().join("pppd"));
        let server = apart(server, folder.path())?.spawn()?;
        let client = apart(router.cmd("pppd").args(CLIENT.split_whitespace()), folder.path())?.spawn()?;
        let line = Self { client, server, session: Mutex::default(), _provider: provider, _folder: folder };
        line.wait_for_another_session(router)?;
        Ok(line)
    }

    /// The session ends, and the next one begins with another `ppp0`.
    pub fn reconnect(&self, router: &Namespace) -> Result<()> {
        self.client.signal(Signal::SIGHUP)?;
        self.wait_for_another_session(router)
    }

    fn wait_for_another_session(&self, router: &Namespace) -> Result<()> {
        let before = *self.known();
        let begins = || Ok(session(router)?.is_some_and(|now| Some(now) != before));
        wait_until("a session of PPPoE", PATIENCE, begins).with_context(|| {
            format!("pppd: {}\npppoe-server: {}", self.client.stdout_text(), self.server.stderr_text())
        })?;
        *self.known() = session(router)?;
        Ok(())
    }

    pub fn has_the_same_session(&self, router: &Namespace) -> Result<()> {
        let (then, now) = (*self.known(), session(router)?);
        ensure!(now.is_some() && now == then, "its device was {then:?} and is {now:?}");
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Option<u64>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // With the pppd of each session, which belong to pppoe-server's group.
        let _ = killpg(Pid::from_raw(self.server.pid().cast_signed()), Signal::SIGKILL);
    }
}

/// What a session is known by while it has an address: the index of its device. pppd removes the device when the other
/// end goes or does not answer LCP.
fn session(router: &Namespace) -> Result<Option<u64>> {
    let shown = router.cmd("ip").args(["-j", "-4", "addr", "show"]).output_text()?;
    let devices: serde_json::Value = serde_json::from_str(&shown)?;
    let device = devices.as_array().into_iter().flatten().find(|device| device["ifname"] == DEVICE);
    let numbered = device.filter(|device| device["addr_info"][0]["local"] == *HOST.to_string());
    Ok(numbered.and_then(|device| device["ifindex"].as_u64()))
}

/// From a client to the outside. It is another one than that of [`segments_fit`]: it knows the way's MTU afterwards.
pub fn what_fits_passes(client: &Namespace) -> Result<()> {
    let echo = |bytes: u16| {
        let payload = bytes - IP_AND_ICMP;
        tools::ping(client, OUTSIDE, &format!("-c 4 -M do -s {payload}"))
    };
    let (fits, too_long) = (echo(MTU)?, echo(MTU + 1)?);
    ensure!(fits.received >= 3, "{} of {} packets that fit were answered", fits.received, fits.sent);
    ensure!(too_long.received == 0, "a packet that does not fit was answered");
    Ok(())
}

/// As the outside learns it: what the client says of itself is made smaller on the way.
pub fn segments_fit(client: &Namespace, outside: &Namespace) -> Result<()> {
    let listener = outside.tcp_listener((OUTSIDE, 0))?;
    let _client = client.tcp_connect(listener.local_addr()?)?;
    let size = getsockopt(&listener.accept()?.0, TcpMaxSeg)?;
    let fits = u32::from(MTU - IP_AND_TCP);
    ensure!(size == fits, "segments have {size} bytes, not {fits}");
    Ok(())
}

/// Who asks for a socket of PPPoE gets its modules, and with them `/dev/ppp`, which pppd looks for first.
fn load_modules() -> Result<()> {
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_PPPOX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    ensure!(socket >= 0, "this kernel gives no socket of PPPoE: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    Ok(())
}

/// What both ends read in `/etc/ppp`, an empty `/run`, and what pppoe-server starts.
fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir().context("cannot make a folder for pppd")?;
    for name in ["ppp", "run"] {
        fs::create_dir(folder.path().join(name))?;
    }
    for (name, text) in [("options", ""), ("pppoe-server-options", SERVER), ("chap-secrets", SECRETS)] {
        fs::write(folder.path().join("ppp").join(name), text)?;
    }
    let pppd = folder.path().join("pppd");
    fs::write(&pppd, PPPD)?;
    fs::set_permissions(&pppd, Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// With `folder` in the place of `/etc/ppp` and `/run`: lines that this machine itself has stay as they are.
fn apart(mut cmd: Cmd, folder: &Path) -> Result<Cmd> {
    let path = |name| CString::new(folder.join(name).as_os_str().as_bytes());
    let places = [(path("ppp")?, c"/etc/ppp"), (path("run")?, c"/run")];
    // SAFETY: unshare(2) and mount(2) are async-signal-safe; the paths live as long as the closure.
    unsafe {
        cmd.as_command().pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            for (source, place) in &places {
                let none = None::<&str>;
                mount(Some(source.as_c_str()), *place, none, MsFlags::MS_BIND, none)?;
            }
            Ok(())
        });
    }
    Ok(cmd)
}
