//! `kill -9`: traffic needs no daemon, and the next one goes on where the last one was stopped.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::process::{Process, Stream};
use lab::{Lab, SERVER, VM1, VM2, netns::state};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::sentence::sentence;
use super::setup::{MODES, end, gateway, masquerade, programs, translations, unchanged, works, works_not};

const SECOND: Duration = Duration::from_secs(1);

/// iperf3 both ways between vm1 and the outside.
struct Iperf {
    server: Process,
    client: Process,
}

impl Iperf {
    fn start(lab: &Lab, seconds: u32) -> Result<Self> {
        let address = SERVER.to_string();
        let server = lab.out.cmd("iperf3").args(["-s", "-1", "--forceflush", "-B", &address]).spawn()?;
        server.wait_for(Stream::Stdout, 10 * SECOND, |line| line.contains("Server listening"))?;
        let seconds = seconds.to_string();
        let options = ["-J", "--bidir", "-t", &seconds, "-c", &address];
        Ok(Self { server, client: lab.vm1.cmd("iperf3").args(options).spawn()? })
    }

    /// Bytes that came through in each direction.
    fn finish(self) -> Result<[u64; 2]> {
        let output = self.client.finish(60 * SECOND)?;
        let report: Value = serde_json::from_slice(&output.stdout).context("iperf3's report")?;
        ensure!(output.status.success() && report["error"].is_null(), "iperf3: {}", report["error"]);
        ensure!(self.server.finish(10 * SECOND)?.status.success(), "iperf3's server failed");
        let bytes = |sum: &str| report["end"][sum]["bytes"].as_u64().context("iperf3's bytes");
        Ok([bytes("sum_received")?, bytes("sum_received_bidir_reverse")?])
    }
}

#[test]
fn traffic_survives_a_kill_and_a_restart() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        // Two with one port, so that an external port is not what it would be by itself.
        let sockets = [lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 5000))?];
        let ask = |text| sockets.iter().map(|socket| server.ask(socket, text)).collect::<Result<Vec<_>>>();
        let externals = ask("before")?;
        let iperf = Iperf::start(&lab, 4)?;
        thread::sleep(SECOND);
        let killed = programs(&daemon)?;

        let cli = daemon.kill()?;
        thread::sleep(SECOND / 2);
        ensure!(ask("without a daemon")? == externals, "the external ports changed with the daemon gone");
        ensure!(
            server.ask(&lab.vm1.udp((VM1, 5001))?, "new")? == gateway(5001),
            "a new flow without a daemon"
        );
        works(&lab)?;
        let before = translations(&cli.cmd().args(["flows", "list"]).output_text()?)?;

        let daemon = cli.start(masquerade("auto"))?;
        ensure!(daemon.ready_line().contains("went on"), "{}", daemon.ready_line());
        ensure!(daemon.ready_line().contains(&format!("attached by {mode}")), "{}", daemon.ready_line());
        let after = translations(&daemon.flows_list()?)?;
        ensure!(before == after, "the flows changed from {before:#?} to {after:#?}");
        ensure!(ask("after")? == externals, "the external ports changed with the restart");
        let adopted = programs(&daemon)?;
        ensure!(adopted.len() == 2 && adopted.iter().all(|program| !killed.contains(program)), "{adopted:?}");
        works(&lab)?;

        let moved = iperf.finish()?;
        ensure!(moved.iter().all(|bytes| *bytes > 1_000_000), "iperf3 moved {moved:?} bytes");
        println!("{mode}: {moved:?} bytes both ways across a kill and a restart");
    }
    Ok(())
}

/// What reads the datapath, or ends flows in it, reads the pins.
#[test]
fn commands_need_no_daemon() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    server.ask(&socket, "hello")?;
    let status = daemon.status_json()?;
    ensure!(status["daemon_running"] == true, "{status}");

    let cli = daemon.kill()?;
    let text = |args: &[&str]| cli.cmd().args(args).output_text();
    let json = |args: &[&str]| -> Result<Value> { Ok(serde_json::from_str(&text(args)?)?) };
    let status = json(&["status", "--json"])?;
    ensure!(status["daemon_running"] == false && status["instance"] == "lab", "{status}");
    ensure!(status["uplinks"][0]["name"] == "wan" && status["flows"]["count"] == 1, "{status}");
    ensure!(status["uplinks"][0]["addresses"][0] == lab::GATEWAY.to_string(), "{status}");
    let table = text(&["status"])?;
    ensure!(table.contains("not running") && table.contains("203.0.113.1"), "{table}");

    ensure!(text(&["flows", "count"])? == "1\n");
    let count = json(&["flows", "count", "--json"])?;
    ensure!(count["count"] == 1 && count["max"] == 1 << 18, "{count}");
    let flow = json(&["flows", "list", "--json"])?;
    ensure!(flow["original"]["source_port"] == 5000 && flow["uplink"] == "wan", "{flow}");
    let listed = lab::gateway::flows::parse(&text(&["flows", "list"])?)?;
    ensure!(listed.len() == 1 && listed[0].external() == (lab::GATEWAY, 5000), "{listed:?}");

    ensure!(json(&["flows", "flush", "--json"])?["ended"] == 1);
    ensure!(text(&["flows", "count"])? == "0\n");
    Ok(())
}

/// Who asks for another way to attach is told how to get it, and what is attached goes on.
#[test]
fn a_restart_does_not_change_the_way_of_attaching() -> Result<()> {
    for (first, second) in [("tcx", "clsact"), ("clsact", "tcx")] {
        let lab = Lab::new()?;
        let cli = lab.natbpf_cli()?.start(masquerade(first))?.kill()?;
        let attached = state::of(&lab.gw)?;
        let said = sentence(&cli.output(masquerade(second))?)?;
        ensure!(said.contains(&format!("by {first} already")) && said.contains("natbpf detach"), "{said}");
        unchanged(&lab, &attached)?;
        works(&lab)?;
        cli.cmd().arg("detach").run()?;
        works_not(&lab)?;
        cli.start(masquerade(second))?;
        works(&lab)?;
    }
    Ok(())
}

/// The gateway's address changes while no daemon is there to see it.
#[test]
fn a_change_of_address_in_between_is_found() -> Result<()> {
    let lab = Lab::new()?;
    let cli = lab.natbpf_cli()?.start(masquerade("auto"))?.kill()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    server.ask(&socket, "before")?;
    lab.gw.ip("addr del 203.0.113.1/24 dev wan\naddr add 203.0.113.2/24 dev wan")?;
    let daemon = cli.start(masquerade("auto"))?;
    let seen = server.ask(&socket, "after")?;
    ensure!(seen == (Ipv4Addr::new(203, 0, 113, 2), 5000).into(), "{seen}");
    ensure!(daemon.log().contains("ended 1 flows"), "{}", daemon.log());
    Ok(())
}

/// Wherever it was: the next start makes whole what it finds half done.
#[test]
fn a_kill_during_the_start_is_no_obstacle() -> Result<()> {
    for (mode, milliseconds) in MODES.into_iter().cycle().zip([20, 50, 100, 150, 200, 250, 300, 350]) {
        let lab = Lab::new()?;
        let cli = lab.natbpf_cli()?;
        let daemon = cli.cmd().args(masquerade(mode)).spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        daemon.stop(Signal::SIGKILL, 10 * SECOND)?;
        let next = cli.start(masquerade(mode)).with_context(|| format!("{mode}, {milliseconds} ms"))?;
        works(&lab)?;
        end(next, Signal::SIGTERM)?;
        let left = state::of(&lab.gw)?;
        ensure!(!left["find /sys/fs/bpf"].contains("natbpf"), "{left:?}");
        ensure!(!left["bpftool net show"].contains("uplink"), "{left:?}");
    }
    Ok(())
}
