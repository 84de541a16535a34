//! What the scenarios share.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::ends::tools::ping;
use lab::gateway::flows::{self, Tuple};
use lab::process::Stream;
use lab::{Cmd, INSIDE, Lab, Natbpf, SERVER, bpffs, gateway::natbpf, netns::state};
use nix::sys::signal::Signal;
use tempfile::NamedTempFile;

/// The ways to attach: what holds with one has to hold with the other.
pub const MODES: [&str; 2] = ["tcx", "clsact"];

const PATIENCE: Duration = Duration::from_secs(10);

/// `natbpf masquerade -o wan -s 10.0.0.0/24 --attach MODE`.
pub fn masquerade(mode: &str) -> [&str; 7] {
    ["masquerade", "-o", "wan", "-s", INSIDE, "--attach", mode]
}

/// What the outside sees of a port that was kept.
pub fn gateway(port: u16) -> SocketAddr {
    (lab::GATEWAY, port).into()
}

/// A new flow gets through.
pub fn works(lab: &Lab) -> Result<()> {
    let received = ping(&lab.vm1, SERVER, "-c 2")?.received;
    ensure!(received == 2, "{received} of 2 pings were answered");
    Ok(())
}

/// Nothing is masqueraded any more.
pub fn works_not(lab: &Lab) -> Result<()> {
    let received = ping(&lab.vm1, SERVER, "-c 2 -W 0.2")?.received;
    ensure!(received == 0, "{received} of 2 pings were answered");
    Ok(())
}

/// Ends a daemon by a signal; it has to end well.
pub fn end(mut daemon: Natbpf, signal: Signal) -> Result<()> {
    daemon.process().signal(signal)?;
    let status = daemon.process().wait(PATIENCE)?;
    ensure!(status.success(), "after {signal} it ended with {status}: {}", daemon.log());
    Ok(())
}

/// `natbpf` in the gateway as another instance than the lab's own.
pub fn other_instance(lab: &Lab, name: &str) -> Result<Cmd> {
    Ok(lab.gw.cmd(natbpf::binary()?).arg("--bpffs").arg(bpffs()).args(["--instance", name]))
}

/// # Errors
/// When the gateway is not as it was, with what differs.
pub fn unchanged(lab: &Lab, before: &BTreeMap<String, String>) -> Result<()> {
    let differences = state::differences(before, &state::of(&lab.gw)?);
    ensure!(differences.is_empty(), "the gateway is not as it was:\n{differences}");
    Ok(())
}

/// The kernel's numbers of the attached programs.
pub fn programs(daemon: &Natbpf) -> Result<Vec<u64>> {
    let status = daemon.status_json()?;
    let uplinks = status["uplinks"].as_array().context("uplinks in the status")?;
    let hooks = uplinks.iter().flat_map(|uplink| ["ingress", "egress"].map(|hook| &uplink["attached"][hook]));
    hooks.map(|hook| hook["program_id"].as_u64().with_context(|| format!("a program in {status}"))).collect()
}

/// Translations of the flows; what changes by itself, such as the remaining time, is left out.
pub fn translations(list: &str) -> Result<BTreeSet<(String, Tuple, Tuple)>> {
    let flows = flows::parse(list)?;
    Ok(flows.into_iter().map(|flow| (flow.protocol, flow.original, flow.reply)).collect())
}

/// A configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    file: NamedTempFile,
}

impl ConfigFile {
    pub fn new(text: &str) -> Result<Self> {
        let file = Self { file: NamedTempFile::new()? };
        file.write(text)?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path(), text)?)
    }

    pub fn start(&self, lab: &Lab) -> Result<Natbpf> {
        lab.natbpf_cli()?.start(["run".as_ref(), "-c".as_ref(), self.path().as_os_str()])
    }

    /// Has the daemon read `text`; returns the line of its log that says what became of it.
    pub fn reload(&self, daemon: &mut Natbpf, text: &str) -> Result<String> {
        self.write(text)?;
        let answer = |line: &str| line.contains("reloaded");
        let earlier = daemon.log().lines().filter(|line| answer(line)).count();
        daemon.reload()?;
        let seen = Cell::new(0);
        daemon.process().wait_for(Stream::Stderr, PATIENCE, |line| {
            seen.set(seen.get() + usize::from(answer(line)));
            seen.get() > earlier
        })
    }

    /// As [`ConfigFile::reload`] of a file that is right.
    pub fn reload_well(&self, daemon: &mut Natbpf, text: &str) -> Result<()> {
        let answer = self.reload(daemon, text)?;
        ensure!(answer.contains(" reloaded;"), "{answer}");
        Ok(())
    }
}

/// The address that the server sees, None when no answer comes within 300 ms.
pub fn seen(server: &Reflector, socket: &std::net::UdpSocket) -> Result<Option<SocketAddr>> {
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    server.try_ask(socket, "hello")
}
