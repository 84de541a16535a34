//! What a service manager sees: readiness, exit status, logs that a machine can read.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::process::Stream;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::setup::{ConfigFile, masquerade, works};

const PATIENCE: Duration = Duration::from_secs(20);

/// sd_notify(3).
#[test]
fn a_service_manager_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let told = || -> Result<String> {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).context("the service manager was told nothing")?;
        Ok(String::from_utf8_lossy(&message[..length]).into_owned())
    };
    let cli = lab.natbpf_cli()?;
    let daemon = cli.cmd().args(masquerade("auto")).env("NOTIFY_SOCKET", &path).spawn()?;
    let ready = told()?;
    ensure!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    works(&lab)?;
    let output = daemon.stop(Signal::SIGTERM, PATIENCE)?;
    ensure!(output.status.success(), "{output:?}");
    let stopping = told()?;
    ensure!(stopping.lines().any(|line| line == "STOPPING=1"), "{stopping}");

    // A start that fails never is ready.
    ensure!(
        !cli.cmd().args(["masquerade", "-o", "wan9"]).env("NOTIFY_SOCKET", &path).output()?.status.success()
    );
    socket.set_nonblocking(true)?;
    let error = socket.recv(&mut [0; 256]).err().map(|error| error.kind());
    ensure!(error == Some(ErrorKind::WouldBlock), "a daemon that failed said something");
    Ok(())
}

#[test]
fn logs_are_json_if_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let config = ConfigFile::new("[[masquerade]]\nout = \"wan\"\n")?;
    let path = config.path().to_str().context("a path")?;
    let cli = lab.natbpf_cli()?;
    let mut daemon = cli.start(["--log-format", "json", "-vv", "run", "-c", path])?;
    let broken = config.reload(&mut daemon, "[[masquerade]]\nout = \"wan\"\nsorce = []\n")?;
    ensure!(broken.contains("unknown field `sorce`"), "{broken}");
    config.reload(&mut daemon, "[[masquerade]]\nout = \"wan\"\n")?;
    let output = daemon.stop()?;
    let log = String::from_utf8(output.stderr)?;
    let lines =
        log.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")));
    let lines: Vec<Value> = lines.collect::<Result<_>>()?;
    for field in ["timestamp", "level", "fields"] {
        ensure!(lines.iter().all(|line| !line[field].is_null()), "a line without {field}: {log}");
    }
    let levels: Vec<_> = lines.iter().filter_map(|line| line["level"].as_str()).collect();
    ensure!(levels.contains(&"INFO") && levels.contains(&"ERROR"), "{levels:?}");
    Ok(())
}

/// Lines for people have colours, but only where a person looks.
#[test]
fn logs_are_plain_in_a_file() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let output = daemon.stop()?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(log.contains("INFO attached to wan") && !log.contains('\x1b'), "{log:?}");
    Ok(())
}

/// The one line on standard output, also for who waits for it in a script.
#[test]
fn ready_says_what_is_at_work() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.cmd().args(masquerade("tcx")).args(["--max-flows", "1000"]).spawn()?;
    let ready = daemon.wait_for(Stream::Stdout, PATIENCE, |line| line.starts_with("ready"))?;
    for part in ["wan (203.0.113.1)", "1000 flows", "attached by tcx"] {
        ensure!(ready.contains(part), "{part} is not in {ready}");
    }
    let output = daemon.stop(Signal::SIGTERM, PATIENCE)?;
    ensure!(output.stdout == format!("{ready}\n").into_bytes(), "{output:?}");
    Ok(())
}
