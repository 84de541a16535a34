//! A new version takes the place of the running one, and a new configuration that of the old one, under load: no
//! connection ends, and no packet leaves untranslated in between.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::ends::tools::together;
use lab::{Capture, INSIDE, Lab, SERVER, VM1, VM2};
use nix::sys::signal::Signal;

use super::setup::{ConfigFile, MODES, end, programs, translations};
use super::stream::Echo;

/// Until told to stop, sends a datagram from each of ever new source ports; returns how many were sent.
fn flood(lab: &Lab, stop: &AtomicBool) -> Result<u32> {
    lab.vm1.enter(|| {
        let mut sent = 0;
        for destination in 9000_u16.. {
            for port in 10_000..60_000 {
                if stop.load(Ordering::Relaxed) {
                    return Ok(sent);
                }
                UdpSocket::bind((VM1, port))?.send_to(b"new", (SERVER, destination))?;
                sent += 1;
                // A pace that leaves room for the rest of the lab.
                if sent % 16 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(sent)
    })?
}

/// Runs `scenario` while new flows come by the thousand; returns how many came.
fn under_load(lab: &Lab, scenario: impl FnOnce() -> Result<()>) -> Result<u32> {
    let _sink = lab.out.udp((SERVER, 9000))?;
    let stop = AtomicBool::new(false);
    let (sent, outcome) = together(
        || flood(lab, &stop),
        || {
            let outcome = scenario();
            stop.store(true, Ordering::Relaxed);
            outcome
        },
    );
    outcome?;
    let sent = sent?;
    ensure!(sent > 1000, "only {sent} new flows: this proved nothing");
    Ok(sent)
}

fn whole() -> String {
    format!("[[masquerade]]\nout = \"wan\"\nsource = [\"{INSIDE}\"]\n")
}

/// The same network in two halves.
const HALVES: &str = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.0/25\", \"10.0.0.128/25\"]\n\
                      except = [\"192.0.2.0/24\"]\n";

#[test]
fn programs_are_replaced_under_load() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let config = ConfigFile::new(&whole())?;
        let start = ["run", "--stay", "--attach", mode, "-c", config.path().to_str().context("a path")?];
        let cli = lab.natbpf_cli()?;
        let server = Reflector::start(&lab.out, (SERVER, 7001))?;
        let mut daemon = cli.start(start)?;
        let sockets = [lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 5000))?];
        let ask = || sockets.iter().map(|socket| server.ask(socket, "hello")).collect::<Result<Vec<_>>>();
        let externals = ask()?;
        // Before there is any load: until it has its filter tcpdump is given everything.
        let leaks = Capture::with(&lab.out, "eth0", "src net 10.0.0.0/8", &["-Q", "in"])?;
        let stream = Echo::start(&lab)?;
        stream.goes_on()?;
        let before = translations(&daemon.flows_list()?)?;

        let flows = under_load(&lab, || {
            for _ in 0..2 {
                let old = programs(&daemon)?;
                end(daemon, Signal::SIGTERM)?;
                stream.goes_on()?;
                daemon = cli.start(start)?;
                let new = programs(&daemon)?;
                ensure!(
                    new.iter().all(|program| !old.contains(program)),
                    "{old:?} were not replaced: {new:?}"
                );
                stream.goes_on()?;
                ensure!(ask()? == externals, "external ports changed");
            }
            for text in [HALVES, &whole(), HALVES] {
                config.reload_well(&mut daemon, text)?;
                stream.goes_on()?;
                ensure!(ask()? == externals, "external ports changed");
            }
            ensure!(translations(&daemon.flows_list()?)?.is_superset(&before), "flows are gone");
            Ok(())
        })?;
        let moved = stream.finish()?;
        let leaks = leaks.stop()?;
        ensure!(leaks.is_empty(), "{} packets left untranslated, first {}", leaks.len(), leaks[0]);
        println!(
            "{mode}: {moved} bytes each way and {flows} new flows across two restarts and three reloads"
        );
    }
    Ok(())
}
