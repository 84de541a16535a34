//! Nothing is attached for it, and nothing of it is left.

use anyhow::{Context as _, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Lab, Natbpf, Node, SERVER, VM1, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::tracing::{PATIENCE, during, masqueraded, start};

/// The programs that are attached, by the kernel's numbers.
fn programs(natbpf: &Natbpf) -> Result<Value> {
    let status = natbpf.status_json()?;
    ensure!(status["uplinks"].as_array().is_some_and(|uplinks| !uplinks.is_empty()), "{status:#}");
    Ok(status["uplinks"].clone())
}

#[test]
fn the_same_programs_are_attached_before_meanwhile_and_after() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let before = programs(&natbpf)?;
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let tracing = start(natbpf.cli(), &[])?;
        ensure!(programs(&natbpf)? == before, "{signal}");
        tracing.stop(signal, PATIENCE)?;
        ensure!(programs(&natbpf)? == before, "{signal}");
    }
    Ok(())
}

/// The datapath stops by itself, and the next one can look.
#[test]
fn one_that_was_killed_is_in_nobodys_way() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    start(natbpf.cli(), &[])?.stop(Signal::SIGKILL, PATIENCE)?;
    server.ask(&socket, "goes on")?;
    wait_until("another can look", PATIENCE, || {
        let next = natbpf.cli().cmd().args(["trace", "-c", "1", "-p", "udp"]).spawn()?;
        let looks = next.wait_for(lab::process::Stream::Stderr, PATIENCE, |_| true)?;
        server.ask(&socket, "question")?;
        let output = next.finish(PATIENCE)?;
        Ok(looks.starts_with("tracing") && output.status.success())
    })
}

/// A trace goes on when the daemon ends and traffic does not.
#[test]
fn no_daemon_is_needed() -> Result<()> {
    let lab = Lab::new()?;
    let cli = masqueraded(&lab)?.kill()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    let lines = during(&cli, &["-p", "udp"], || server.ask(&socket, "question").map(drop))?;
    ensure!(lines.len() == 4, "{lines:#?}");
    cli.cmd().arg("detach").run()
}

#[test]
fn it_ends_when_its_device_goes() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "tap1", "eth0"])?;
    let tracing = start(natbpf.cli(), &["-e", "tap1"])?;
    node.host.ip("link del tap1")?;
    let output = tracing.finish(PATIENCE)?;
    let said = String::from_utf8(output.stderr).context("text")?;
    ensure!(output.status.success() && said.contains("the device tap1 has gone"), "{said}");
    Ok(())
}

#[test]
fn it_ends_when_natbpf_is_detached() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let tracing = start(natbpf.cli(), &[])?;
    natbpf.stop()?;
    let output = tracing.finish(PATIENCE)?;
    let said = String::from_utf8(output.stderr).context("text")?;
    ensure!(output.status.success() && said.contains("detached meanwhile"), "{said}");
    Ok(())
}
