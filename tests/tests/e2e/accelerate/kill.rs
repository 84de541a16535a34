//! Traffic needs no daemon.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use lab::Node;
use lab::ends::tools::ping;

use super::{FAMILIES, SOON, is_repeated, repeated, start};
use crate::e2e::offload::pulse::Pulse;

#[test]
fn a_flow_goes_on_after_a_kill_and_a_restart() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", "2s"])?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    let kill = Instant::now();
    let cli = natbpf.kill()?;
    // For longer than a path holds by itself.
    let silence = pulse.longest_silence(kill, 5 * SOON);
    ensure!(silence < SOON / 2, "no answer for {silence:?}");
    let before = cli.counter("packets_repeated")?;
    pulse.goes_on(SOON)?;
    let after = cli.counter("packets_repeated")?;
    ensure!(after > before + 10, "after the kill nothing is repeated: {before}, then {after}");
    let restart = Instant::now();
    let natbpf = start(&node, &["--revalidate", "2s"])?;
    is_repeated(&natbpf)?;
    let silence = pulse.longest_silence(restart, SOON);
    ensure!(silence < SOON / 2, "no answer for {silence:?} while it started\n{}", natbpf.log());
    Ok(())
}

#[test]
fn a_flow_goes_on_after_an_orderly_end() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &[])?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    let end = Instant::now();
    let output = natbpf.stop()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let silence = pulse.longest_silence(end, 2 * SOON);
    ensure!(silence < SOON / 2, "no answer for {silence:?}");
    let programs = node.host.cmd("bpftool").args(["net", "show"]).output_text()?;
    ensure!(!programs.contains("edge_"), "something is left: {programs}");
    Ok(())
}

/// Nothing is lost while one daemon ends and the next one goes on.
#[test]
fn a_restart_loses_no_packet() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &[])?;
    thread::scope(|scope| {
        let pings = FAMILIES.map(|family| {
            let vm1 = &node.vm1;
            scope.spawn(move || ping(vm1, family.server, "-c 600 -i 0.01"))
        });
        thread::sleep(SOON);
        drop(natbpf.kill()?);
        let second = start(&node, &["--stay"])?;
        thread::sleep(SOON / 2);
        let output = second.stop()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let third = start(&node, &[])?;
        for ping in pings {
            let replies = ping.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))?;
            ensure!(replies.received == 600, "{replies:?}");
        }
        let (repeated, all) = (repeated(&third)?, 2 * 2 * 600);
        ensure!(repeated > all / 2, "of {all} packets {repeated} were repeated\n{}", third.log());
        Ok(())
    })
}
