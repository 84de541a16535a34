//! `natbpf flows watch` and `natbpf flows flush`.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::gateway::flows::{self, Flow};
use lab::gateway::natbpf::Cli;
use lab::process::{Process, Stream};
use lab::{GATEWAY, Lab, SERVER, VM1, VM2, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::sentence::sentence;
use super::setup::{gateway, masquerade};

const PATIENCE: Duration = Duration::from_secs(12);

/// A watcher that is known to watch: it has told of a flow.
fn watch(lab: &Lab, cli: &Cli, options: &[&str]) -> Result<Process> {
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let watcher = cli.cmd().args(["flows", "watch"]).args(options).spawn()?;
    wait_until("the watcher watches", PATIENCE, || {
        server.ask(&lab.vm2.udp((VM2, 0))?, "is anybody watching?")?;
        Ok(!watcher.stdout_text().is_empty())
    })?;
    Ok(watcher)
}

/// The first line that starts so and tells of the port.
fn line(watcher: &Process, start: &str, port: u16) -> Result<String> {
    let port = format!("sport={port} ");
    watcher
        .wait_for(Stream::Stdout, PATIENCE, |line| line.starts_with(start) && line.contains(&port))
        .with_context(|| format!("no {start:?} among\n{}", watcher.stdout_text()))
}

/// A line of `conntrack -E` is one of `conntrack -L` behind a word, without the fields that the table has.
fn flow(line: &str) -> Result<Flow> {
    let (_, flow) = line.split_once("] ").with_context(|| format!("an event: {line}"))?;
    ensure!(!line.contains("use="), "{line}");
    Ok(flows::parse(flow)?.remove(0))
}

#[test]
fn watch_tells_the_story_of_a_connection() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let watcher = watch(&lab, daemon.cli(), &[])?;
    let listener = lab.out.tcp_listener((SERVER, 80))?;
    let mut client = lab.vm1.tcp_connect((SERVER, 80))?;
    let (mut accepted, seen) = listener.accept()?;
    let port = client.local_addr()?.port();
    client.write_all(b"hello")?;
    accepted.read_exact(&mut [0; 5])?;

    let new = flow(&line(&watcher, "    [NEW] tcp      6 ", port)?)?;
    ensure!(new.state.as_deref() == Some("SYN_SENT") && new.unreplied && !new.assured, "{new:?}");
    ensure!((new.original.src, new.external()) == (VM1, (GATEWAY, seen.port())), "{new:?}");
    let replied = flow(&line(&watcher, " [UPDATE] tcp      6 ", port)?)?;
    ensure!(replied.state.as_deref() == Some("SYN_RECV") && !replied.unreplied, "{replied:?}");
    let established = |line: &str| line.contains(" ESTABLISHED ") && line.trim_end().ends_with("[ASSURED]");
    watcher.wait_for(Stream::Stdout, PATIENCE, established)?;

    ensure!(daemon.cli().output(["flows", "flush", "-p", "tcp"])?.status.success());
    let end = line(&watcher, "[DESTROY] tcp      6 ", port)?;
    // A flow that is over has no time left to show.
    ensure!(end.starts_with("[DESTROY] tcp      6 ESTABLISHED src=10.0.0.11 "), "{end}");

    let output = watcher.stop(Signal::SIGINT, PATIENCE)?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(())
}

#[test]
fn watch_filters_and_speaks_json() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let watcher = watch(&lab, daemon.cli(), &["--json", "-s", "10.0.0.12"])?;
    let server = Reflector::start(&lab.out, (SERVER, 9001))?;
    server.ask(&lab.vm1.udp((VM1, 5000))?, "not asked for")?;
    server.ask(&lab.vm2.udp((VM2, 6000))?, "asked for")?;
    let told = watcher.wait_for(Stream::Stdout, PATIENCE, |line| line.contains("\"source_port\":6000"))?;
    let event: Value = serde_json::from_str(&told)?;
    ensure!(event["event"] == "new" && event["original"]["source"] == VM2.to_string(), "{event}");
    ensure!(!watcher.stdout_text().contains("10.0.0.11"), "{}", watcher.stdout_text());
    Ok(())
}

#[test]
fn a_second_watcher_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let first = watch(&lab, daemon.cli(), &[])?;
    let said = sentence(&daemon.cli().output(["flows", "watch"])?)?;
    ensure!(said.contains("another `natbpf flows watch`") && said.contains("end it"), "{said}");
    first.stop(Signal::SIGTERM, PATIENCE)?;
    watch(&lab, daemon.cli(), &[])?;
    Ok(())
}

#[test]
fn flush_ends_what_matches_and_nothing_else() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let (one, two) = (lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 6000))?);
    server.ask(&one, "hello")?;
    server.ask(&two, "hello")?;

    let flush = |filter: &str| daemon.cli().output(["flows", "flush"].into_iter().chain(filter.split(' ')));
    let nothing = flush("-p udp --sport 7777")?;
    ensure!(nothing.status.code() == Some(1) && nothing.stdout.starts_with(b"0 flows"), "{nothing:?}");
    let ended = flush("-p udp -s 10.0.0.11 -d 203.0.113.0/24 --sport 5000 --dport 9000")?;
    ensure!(ended.status.success() && ended.stdout.starts_with(b"1 flow"), "{ended:?}");
    let left = flows::parse(&daemon.flows_list()?)?;
    ensure!(left.len() == 1 && left[0].original.src == VM2, "{left:?}");

    // What was ended no longer lets the outside in.
    lab.out.udp((SERVER, 9999))?.send_to(b"who is there?", gateway(5000))?;
    one.set_read_timeout(Some(Duration::from_millis(200)))?;
    ensure!(one.recv_from(&mut [0; 64]).is_err(), "the flow still works");
    Ok(())
}

/// The instance does not notice: its next packet makes the translation anew, with the port it had.
#[test]
fn a_conversation_recovers_from_a_flush_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    // The second one cannot keep its port: it gets one that is found again.
    let sockets = [lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 5000))?];
    let ask = |text: &str| sockets.iter().map(|socket| server.ask(socket, text)).collect::<Result<Vec<_>>>();
    let before = ask("before")?;
    ensure!(before[0] == gateway(5000) && before[1] != before[0], "{before:?}");
    for round in 0..3 {
        ensure!(daemon.cli().output(["flows", "flush"])?.status.success());
        let after = ask(&format!("after {round}"))?;
        ensure!(after == before, "{before:?} became {after:?}");
    }
    Ok(())
}
