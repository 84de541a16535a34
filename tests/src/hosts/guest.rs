//! A guest that QEMU emulates, and the shell in it.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::check::Check;
use super::pod::Pod;
use crate::process::interrupt;
use crate::process::wait::wait_until;

/// Where the pod has the guests' kernel and first file system.
pub const FOLDER: &str = "/srv/guest";
/// What the kernel is told.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet panic=1 mitigations=off";
/// MiB
pub const MEMORY: u32 = 192;

/// Until a guest has booted and has its address, on an emulated processor.
const BOOT: Duration = Duration::from_secs(150);

/// Its first serial port goes to `/tmp/NAME.log` of its pod, the second one, with the shell, to `/tmp/NAME.sock`.
#[derive(Debug)]
pub struct Guest {
    pub address: Ipv4Addr,
    console: PathBuf,
}

impl Guest {
    /// Waits for one that has been started.
    pub fn booted(pod: &Pod, name: &str) -> Result<Self> {
        let address = Cell::new(None);
        let log = format!("/tmp/{name}.log");
        wait_until(&format!("guest {name} has its address and serves"), BOOT, || {
            let said = pod.read(&log)?;
            let lease = said.lines().find_map(|line| line.trim().strip_prefix("GUEST address "));
            address.set(lease.and_then(|address| address.parse().ok()));
            Ok(address.get().is_some() && said.contains("GUEST ready"))
        })
        .with_context(|| pod.read(&log).unwrap_or_default())?;
        let address = address.get().context("a guest without an address")?;
        Ok(Self::running(pod, name, address))
    }

    /// One that has its address.
    pub fn running(pod: &Pod, name: &str, address: Ipv4Addr) -> Self {
        Self { address, console: pod.path(&format!("/tmp/{name}.sock")) }
    }

    /// Runs a command by the guest's shell; what it wrote, if it ended well.
    pub fn sh(&self, command: &str, limit: Duration) -> Result<String> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let end = Instant::now() + limit;
        let mut console = UnixStream::connect(&self.console).context("the guest's console")?;
        console.set_read_timeout(Some(Duration::from_millis(200)))?;
        // What the shell says by itself must not look like the end of the command, nor the command's own echo.
        let mark = format!("end-{}-", CALLS.fetch_add(1, Ordering::Relaxed));
        let (head, tail) = mark.split_at(2);
        let line = format!("stty -echo; echo be''gin; ( {command} ); echo {head}''{tail}$?\n");
        console.write_all(line.as_bytes())?;
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            interrupt::check()?;
            match console.read(&mut buffer) {
                Ok(0) => bail!("the guest's console was closed"),
                Ok(length) => said.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let text = String::from_utf8_lossy(&said).replace('\r', "");
            let Some((output, status)) = text.split_once(&mark) else { continue };
            let Some((status, _)) = status.split_once('\n') else { continue };
            let output = output.split_once("begin\n").map_or(output, |(_, output)| output);
            ensure!(status.trim() == "0", "`{command}` in a guest ended with {}: {output}", status.trim());
            return Ok(output.to_owned());
        }
        bail!("`{command}` in a guest did not end within {limit:?}: {}", String::from_utf8_lossy(&said))
    }

    pub fn check<'a>(&'a self, what: &str, command: String) -> Check<'a> {
        Check::new(what, move || self.sh(&command, Duration::from_mins(1)).map(drop))
    }
}
