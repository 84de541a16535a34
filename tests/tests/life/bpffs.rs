//! Where no BPF file system is mounted.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{INSIDE, Lab, bpffs};
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::setup::works;

const SECOND: Duration = Duration::from_secs(1);

/// As iproute2 does it, and not for those who only read.
#[test]
fn a_bpffs_that_is_not_mounted_is_mounted() -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let natbpf = |args: &[&str]| {
        lab.gw.cmd(lab::gateway::natbpf::binary().unwrap_or_default()).arg("--bpffs").arg(path).args(args)
    };
    ensure!(!natbpf(&["status"]).output()?.status.success());
    ensure!(statfs(path)?.filesystem_type() != BPF_FS_MAGIC, "status has mounted one");
    let daemon = natbpf(&["masquerade", "-o", "wan", "-s", INSIDE]).spawn()?;
    daemon.wait_for(lab::process::Stream::Stdout, 20 * SECOND, |line| line.starts_with("ready"))?;
    let said = daemon.stderr_text();
    let mounted = statfs(path)?.filesystem_type() == BPF_FS_MAGIC;
    let outcome = works(&lab);
    let ended = daemon.stop(Signal::SIGTERM, 20 * SECOND)?;
    if mounted {
        nix::mount::umount(path)?;
    }
    ensure!(mounted && said.contains("mounted a BPF file system at"), "{said}");
    ensure!(ended.status.success() && statfs(bpffs())?.filesystem_type() == BPF_FS_MAGIC);
    outcome
}
