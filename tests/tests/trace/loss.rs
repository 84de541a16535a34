//! What is not seen is told: nothing is passed over in silence.

use std::ffi::CString;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::process::Process;
use lab::{Lab, SERVER, VM1, wait_until};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::tempdir;

use super::tracing::{PATIENCE, masqueraded, start};

/// More than a trace is kept that nobody renews.
const LONG: Duration = Duration::from_millis(3_500);

/// Packets, each seen before and after a program, of which the buffer has no room for half.
const FLOOD: usize = 12_000;

fn flood(lab: &Lab, packets: usize) -> Result<()> {
    let socket = lab.vm1.udp((VM1, 5000))?;
    (0..packets).try_for_each(|_| socket.send_to(b"data", (SERVER, 9)).map(drop).map_err(Into::into))
}

/// How many sights were lost, by what it says at its end.
fn lost(said: &str) -> Result<u64> {
    let end = said.lines().last().and_then(|line| line.strip_suffix(" sights of packets lost"));
    let lost = end.and_then(|line| line.rsplit(' ').next()).with_context(|| said.to_owned())?;
    Ok(lost.parse()?)
}

fn stopped_for(process: &Process, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    process.signal(Signal::SIGSTOP)?;
    let done = meanwhile();
    process.signal(Signal::SIGCONT)?;
    done
}

#[test]
fn what_finds_no_room_is_counted() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let tracing = start(natbpf.cli(), &["-p", "udp", "--dport", "9"])?;
    stopped_for(&tracing, || flood(&lab, FLOOD))?;
    let output = tracing.stop(Signal::SIGINT, PATIENCE)?;
    let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let (shown, lost) = (text.lines().count() as u64, lost(&said)?);
    ensure!(lost > 1_000 && shown > 1_000, "{said}");
    ensure!(shown + lost == 2 * FLOOD as u64, "{shown} lines, and {said}");
    Ok(())
}

#[test]
fn a_time_without_a_look_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let tracing = start(natbpf.cli(), &[])?;
    stopped_for(&tracing, || {
        sleep(LONG);
        Ok(())
    })?;
    wait_until("it says so", PATIENCE, || {
        Ok(tracing.stderr_text().contains("no packet was looked at for about"))
    })?;
    flood(&lab, 10)?;
    let output = tracing.stop(Signal::SIGINT, PATIENCE)?;
    ensure!(String::from_utf8(output.stdout)?.contains(":9, "), "it goes on");
    Ok(())
}

/// Packets go to one reader: the later one.
#[test]
fn one_that_stood_still_does_not_disturb_the_next() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let mut first = start(natbpf.cli(), &["-p", "tcp"])?;
    let mut next = None;
    stopped_for(&first, || {
        sleep(LONG);
        next = Some(start(natbpf.cli(), &["-p", "udp"])?);
        Ok(())
    })?;
    ensure!(first.wait(PATIENCE)?.code() == Some(3), "{}", first.stderr_text());
    ensure!(first.stderr_text().contains("another `natbpf trace` has begun"), "{}", first.stderr_text());
    flood(&lab, 10)?;
    let output = next.context("another one")?.stop(Signal::SIGINT, PATIENCE)?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.lines().count() == 20, "{text}");
    Ok(())
}

/// An output that takes nothing holds up neither the datapath nor the end.
#[test]
fn a_reader_that_has_stopped_is_not_waited_for() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let folder = tempdir()?;
    let path = folder.path().join("fifo");
    let name = path.to_str().context("a name")?;
    mkfifo(CString::new(name)?.as_c_str(), Mode::S_IRWXU)?;
    let reader = fs::File::options().read(true).write(true).open(&path)?;
    let mut tracing = start(natbpf.cli(), &["-w", name])?;
    flood(&lab, 2_000)?;
    sleep(LONG);
    let other = natbpf.cli().output(["trace", "-c", "1"])?;
    ensure!(other.status.code() == Some(3), "it did not go on: {other:?}");
    tracing.signal(Signal::SIGINT)?;
    sleep(Duration::from_millis(500));
    tracing.signal(Signal::SIGINT)?;
    ensure!(tracing.wait(PATIENCE)?.code() == Some(3), "{}", tracing.stderr_text());
    ensure!(tracing.stderr_text().contains("the output takes nothing any more"), "{}", tracing.stderr_text());
    drop(reader);
    Ok(())
}
