//! Who may change the translation, and what happens without the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::conformance::prelude::*;
use crate::{bpffs, gateway::natbpf};

/// A user without privileges.
const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];

/// The program where everybody can start it.
fn copied_for_everybody() -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("natbpf");
    fs::copy(natbpf::binary()?, &copy)?;
    Ok((dir, copy))
}

/// Everything below a directory, itself included.
fn below(path: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            all.extend(below(&entry?.path())?);
        }
    }
    Ok(all)
}

fn pins() -> PathBuf {
    bpffs().join("natbpf")
}

pub fn only_root_can_alter(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    server.ask(&socket, "before")?;

    let (_dir, copy) = copied_for_everybody()?;
    for args in [
        &["flows", "flush"][..],
        &["flows", "list"],
        &["detach"],
        &["masquerade", "-o", "wan", "-s", "10.0.0.0/24"],
    ] {
        let cmd = bed.gw.cmd("setpriv").args(NOBODY).arg(&copy).arg("--bpffs").arg(bpffs());
        let output = cmd.args(["--instance", "bed"]).args(args).output()?;
        expect!(!output.status.success(), "a user without privileges can do `natbpf {}`", args.join(" "));
    }
    // Others may neither open a pin nor put another one in its place.
    let open = |path: &PathBuf| {
        let forbidden = if path.is_dir() { 0o022 } else { 0o077 };
        fs::metadata(path).is_ok_and(|data| data.permissions().mode() & forbidden != 0)
    };
    let (pins, first) = (below(&pins())?, |path: &&PathBuf| open(path));
    ensure!(pins.len() > 5, "there are no pins, so nothing is shown");
    let found = pins.iter().find(first);
    expect!(found.is_none(), "others than root may change {found:?}");
    let socket_files = bed.gw.read("/proc/thread-self/net/unix")?;
    expect!(!socket_files.contains("natbpf"), "there is a control socket");

    server.ask(&socket, "after")?;
    ensure!(nat.natbpf()?.flows_count()? == 1, "the flow is not there any more");
    Ok(Meets)
}

/// Packets that leave with their inside source in a fifth of a second.
fn leaks(bed: &Bed) -> Result<usize> {
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    for port in 6000..6010 {
        inside.send(&Packet::udp((SILENT_IN1, port), (SILENT_OUT1, 9)).payload(b"probe"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(uplink.drain()?.iter().filter(|seen| seen.outgoing && seen.src() == SILENT_IN1).count())
}

pub fn a_crash_neither_stops_nor_leaks(bed: &Bed) -> Result<Outcome> {
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let mut leaking = Vec::new();
    for mode in ["tcx", "clsact"] {
        let daemon = bed.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--attach", mode])?;
        let before = server.ask(&socket, "before")?;
        daemon.kill()?;
        let after = server.try_ask(&socket, "after")?;
        expect!(
            after == Some(before),
            "by {mode}: with the daemon killed a flow is seen as {after:?} instead of {before}"
        );
        let new = server.try_ask(&bed.in1.udp((IN1, 5001))?, "new")?;
        expect!(new.is_some(), "by {mode}: with the daemon killed no flow begins");
        // Somebody clears the BPF file system.
        fs::remove_dir_all(pins()).context("cannot remove the pins")?;
        if leaks(bed)? > 0 {
            leaking.push(mode);
        }
        // By hand, since nothing is pinned that says what to take off.
        bed.gw.cmd("tc").args(["qdisc", "del", "dev", "wan", "clsact"]).output()?;
    }
    match &leaking[..] {
        [] => Ok(Meets),
        modes => Ok(Partly(format!(
            "translation goes on without the daemon; when the pins are removed, too, programs attached by {} are gone \
             and packets leave untranslated",
            modes.join(" and ")
        ))),
    }
}
