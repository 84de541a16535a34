//! Output that cannot be written: a log without a reader, a full disk. It never ends the daemon, and commands
//! say it by their exit status.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Lab, Natbpf, wait_until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;

use super::setup::{masquerade, works};

const PATIENCE: Duration = Duration::from_secs(20);

fn full() -> Result<File> {
    Ok(File::options().write(true).open("/dev/full")?)
}

/// A pipe whose reader has gone.
fn closed() -> Result<io::PipeWriter> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    Ok(writer)
}

/// A pipe that nobody reads, and that has no room left, with the end that keeps it open.
fn stuck() -> Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, mut writer) = io::pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok((reader, writer))
}

/// A terminal whose program reads nothing any more, with that program's end. The line that makes it full is
/// taken in part: there was room, and its writer waits all the same.
fn stuck_terminal() -> Result<(OwnedFd, OwnedFd)> {
    let pair = openpty(None, None)?;
    Ok((pair.master, pair.slave))
}

/// A daemon that has something to log goes on, and follows what it logs.
fn goes_on(what: &str, stdout: Stdio, stderr: Stdio) -> Result<()> {
    let lab = Lab::new()?;
    let cli = lab.natbpf_cli()?;
    // Much, so that whatever takes some of it becomes full.
    let mut cmd = cli.cmd().env("RUST_LOG", "trace").args(masquerade("auto"));
    let mut child = cmd.as_command().stdout(stdout).stderr(stderr).spawn()?;
    let outcome = (|| {
        wait_until("attached", PATIENCE, || Ok(works(&lab).is_ok()))?;
        for last in 2..9 {
            lab.gw.ip(&format!("addr add 10.77.{last}.1/24 dev wan"))?;
        }
        wait_until("the address is followed", Duration::from_secs(3), || {
            Ok(cli.status_json()?.to_string().contains("10.77.8.1"))
        })?;
        ensure!(child.try_wait()?.is_none(), "{what}: the daemon has ended");
        ensure!(cli.status_json()?["daemon_running"] == true, "{what}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        Ok(())
    })();
    if outcome.is_err() {
        let _ = child.kill();
    }
    let status = end_of(child).context(what.to_owned());
    outcome?;
    ensure!(status?.success(), "{what}: it did not end well");
    Ok(())
}

/// How it ends.
fn end_of(mut child: Child) -> Result<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    bail!("it did not end by itself");
}

#[test]
fn a_daemon_outlives_the_readers_of_its_output() -> Result<()> {
    goes_on("without readers", closed()?.into(), closed()?.into())?;
    goes_on("on a full disk", full()?.into(), full()?.into())?;
    let (_reader, writer) = stuck()?;
    goes_on("beside a reader that has stopped", Stdio::null(), writer.into())
}

#[test]
fn a_daemon_outlives_a_reader_of_everything_that_has_stopped() -> Result<()> {
    let (_reader, writer) = stuck()?;
    goes_on("with 2>&1", writer.try_clone()?.into(), writer.into())
}

#[test]
fn a_daemon_outlives_a_terminal_that_has_stopped() -> Result<()> {
    let (_program, terminal) = stuck_terminal()?;
    goes_on("at a terminal", Stdio::null(), terminal.try_clone()?.into())?;
    let (_program, terminal) = stuck_terminal()?;
    goes_on("at a terminal with 2>&1", terminal.try_clone()?.into(), terminal.into())
}

/// It ends, so that a supervisor can start it again.
#[test]
fn a_daemon_that_fails_ends_whoever_reads_why() -> Result<()> {
    let lab = Lab::new()?;
    let fails = |stderr: Stdio| -> Result<Child> {
        let mut cmd = lab.natbpf_cli()?.cmd().args(["masquerade", "-o", "nowhere", "-s", lab::INSIDE]);
        Ok(cmd.as_command().stdout(Stdio::null()).stderr(stderr).spawn()?)
    };
    let child = fails(Stdio::piped())?.wait_with_output()?;
    let said = String::from_utf8_lossy(&child.stderr);
    ensure!(
        child.status.code() == Some(1) && said.contains("natbpf: ") && said.contains("nowhere"),
        "{said}"
    );
    let (_reader, writer) = stuck()?;
    let status = end_of(fails(writer.into())?)?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    Ok(())
}

/// `natbpf status | true` is no failure; a full disk is one, and neither is a panic.
#[test]
fn commands_end_quietly_without_a_reader_and_complain_of_a_full_disk() -> Result<()> {
    let lab = Lab::new()?;
    let daemon: Natbpf = lab.natbpf_cli()?.start(masquerade("auto"))?;
    works(&lab)?;
    let config = super::setup::ConfigFile::new("[[masquerade]]\nout = \"wan\"\n")?;
    let config = config.path().to_str().unwrap_or_default().to_owned();
    let rules = tempfile::NamedTempFile::new()?;
    std::fs::write(rules.path(), "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n")?;
    let rules = rules.path().to_str().unwrap_or_default().to_owned();
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["flows", "list"],
        &["flows", "list", "--json"],
        &["flows", "count"],
        &["flows", "count", "--json"],
        &["check", "-c", &config],
        &["import", &rules],
        &["--help"],
        &["flows", "--help"],
        &["--version"],
    ];
    for args in commands {
        let run = |stdout: Stdio| daemon.cli().cmd().args(*args).spawn_into(stdout)?.finish(PATIENCE);
        let output = run(closed()?.into())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let quiet = said.is_empty() || args[0] == "import";
        ensure!(output.status.code() == Some(0) && quiet, "{args:?} | true: {} {said}", output.status);
        let output = run(full()?.into())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{args:?} > /dev/full: {} {said}", output.status);
        ensure!(!said.contains("panicked"), "{args:?} > /dev/full: {said}");
        let named = said.contains("cannot write the output: No space left on device");
        ensure!(named || args.iter().any(|arg| arg.starts_with("--help") || *arg == "--version"), "{said}");
    }
    // What cannot be complained of either is told by the exit status.
    for (args, status) in [(&["flows", "list", "--sport", "x"][..], 2), (&["check", "-c", "/none"], 1)] {
        let mut cmd = daemon.cli().cmd().args(args);
        let ended = cmd.as_command().stdout(Stdio::null()).stderr(full()?).status()?;
        ensure!(ended.code() == Some(status), "{args:?}: {ended}");
    }
    Ok(())
}
