//! Where it cannot look, and what is not asked for in earnest.

use std::os::unix::process::CommandExt as _;

use anyhow::{Result, ensure};
use lab::gateway::natbpf::Cli;
use lab::{Cmd, Lab};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, setuid};

use super::tracing::{PATIENCE, masqueraded, start};

/// It ends at once with this status, and says why in one line.
fn refused(cmd: Cmd, status: i32, why: &str) -> Result<()> {
    let output = cmd.output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(status) && output.stdout.is_empty(), "{}: {said}", output.status);
    ensure!(said.contains(why), "not {why:?}, but {said:?}");
    Ok(())
}

fn trace(cli: &Cli, arguments: &[&str]) -> Cmd {
    cli.cmd().arg("trace").args(arguments)
}

#[test]
fn without_natbpf_there_is_nothing_to_see() -> Result<()> {
    let lab = Lab::new()?;
    refused(trace(&lab.natbpf_cli()?, &[]), 3, "natbpf is not attached")
}

#[test]
fn wrong_usage_and_unknown_devices() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let cli = natbpf.cli();
    refused(trace(cli, &["-s", "10.0.0.1", "-d", "fd00::1"]), 2, "no packet has a source of IPv4 and")?;
    refused(trace(cli, &["--sample", "0"]), 2, "--sample")?;
    refused(trace(cli, &["--json", "-w", "-"]), 2, "cannot be used with")?;
    refused(trace(cli, &["-e", "wan9"]), 3, "there is no device wan9 here")
}

#[test]
fn others_than_root_may_not_look() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let mut cmd = trace(natbpf.cli(), &[]);
    let nobody = || setuid(Uid::from_raw(65534)).map_err(Into::into);
    // SAFETY: one system call.
    unsafe { cmd.as_command().pre_exec(nobody) };
    refused(cmd, 3, "run it as root")
}

#[test]
fn one_looks_at_a_time() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let first = start(natbpf.cli(), &[])?;
    refused(trace(natbpf.cli(), &[]), 3, "another `natbpf trace` is running")?;
    first.stop(Signal::SIGINT, PATIENCE)?;
    start(natbpf.cli(), &[])?.stop(Signal::SIGINT, PATIENCE)?;
    Ok(())
}
