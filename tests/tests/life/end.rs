//! After the end the gateway is as it was before the start: programs, qdiscs, filters, pins, sysctls, links.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Namespace, netns::state, wait_until};
use nix::sys::signal::Signal;

use super::sentence::sentence;
use super::setup::{MODES, end, masquerade, programs, unchanged, works, works_not};

/// Takes no packet: a classic BPF program of one instruction, `ret #0`.
const FOREIGN_FILTER: [&str; 10] =
    ["filter", "add", "dev", "wan", "egress", "prio", "10", "bpf", "bytecode", "1,6 0 0 0,"];

fn add_foreign_filter(gw: &Namespace) -> Result<()> {
    gw.cmd("tc").args(FOREIGN_FILTER).run()
}

/// # Errors
/// When one of the programs is still in the kernel, which frees them a little later.
fn are_gone(gw: &Namespace, programs: &[u64]) -> Result<()> {
    for program in programs {
        wait_until("the program is gone", Duration::from_secs(3), || {
            let show = ["prog", "show", "id", &program.to_string()];
            Ok(!gw.cmd("bpftool").args(show).output()?.status.success())
        })?;
    }
    Ok(())
}

#[test]
fn a_signal_detaches() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let before = state::of(&lab.gw)?;
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
            works(&lab)?;
            ensure!(unchanged(&lab, &before).is_err(), "the state does not show that something is attached");
            let attached = programs(&daemon)?;
            end(daemon, signal)?;
            unchanged(&lab, &before)?;
            are_gone(&lab.gw, &attached)?;
            works_not(&lab)?;
        }
    }
    Ok(())
}

#[test]
fn stay_leaves_it_to_detach() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let before = state::of(&lab.gw)?;
        let daemon = lab.natbpf_cli()?.start([&masquerade(mode)[..], &["--stay"]].concat())?;
        let (cli, attached) = (daemon.cli().clone(), programs(&daemon)?);
        end(daemon, Signal::SIGTERM)?;
        works(&lab)?;

        let said = cli.cmd().arg("detach").output_text()?;
        ensure!(said.starts_with("detached"), "{said}");
        unchanged(&lab, &before)?;
        are_gone(&lab.gw, &attached)?;
        works_not(&lab)?;

        let said = cli.cmd().arg("detach").output_text()?;
        ensure!(said.starts_with("nothing to detach"), "{said}");
    }
    Ok(())
}

#[test]
fn detach_is_refused_while_the_daemon_runs() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let running = state::of(&lab.gw)?;
    let said = sentence(&daemon.cli().output(["detach"])?)?;
    ensure!(said.contains("runs as instance lab") && said.contains("end it"), "{said}");
    unchanged(&lab, &running)?;
    works(&lab)
}

#[test]
fn somebody_elses_qdisc_and_filter_stay() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        lab.gw.cmd("tc").args(["qdisc", "add", "dev", "wan", "clsact"]).run()?;
        add_foreign_filter(&lab.gw)?;
        let before = state::of(&lab.gw)?;
        let daemon = lab.natbpf_cli()?.start([&masquerade(mode)[..], &["--coexist"]].concat())?;
        works(&lab)?;
        end(daemon, Signal::SIGTERM)?;
        unchanged(&lab, &before)?;
    }
    Ok(())
}

/// The qdisc is natbpf's, but somebody has come to use it.
#[test]
fn a_filter_that_came_later_keeps_the_qdisc() -> Result<()> {
    let lab = Lab::new()?;
    let expected = {
        lab.gw.cmd("tc").args(["qdisc", "add", "dev", "wan", "clsact"]).run()?;
        add_foreign_filter(&lab.gw)?;
        let expected = state::of(&lab.gw)?;
        lab.gw.cmd("tc").args(["qdisc", "del", "dev", "wan", "clsact"]).run()?;
        expected
    };
    let daemon = lab.natbpf_cli()?.start(masquerade("clsact"))?;
    add_foreign_filter(&lab.gw)?;
    let output = daemon.stop()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && log.contains("the clsact qdisc of wan stays"), "{log}");
    unchanged(&lab, &expected)
}

/// An ingress qdisc stands where clsact would, and has only one of the two hooks.
#[test]
fn a_start_that_cannot_attach_leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.cmd("tc").args(["qdisc", "add", "dev", "wan", "ingress"]).run()?;
    let before = state::of(&lab.gw)?;
    let said = sentence(&lab.natbpf_cli()?.output(masquerade("clsact"))?)?;
    ensure!(said.contains("wan (ingress): it has an `ingress` qdisc"), "{said}");
    unchanged(&lab, &before)
}

/// Whenever it comes: nothing stays, and it does not hang.
#[test]
fn a_signal_during_the_start_leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let before = state::of(&lab.gw)?;
    for (mode, milliseconds) in MODES.into_iter().cycle().zip([0, 5, 20, 50, 100, 200, 300, 400]) {
        let daemon = lab.natbpf_cli()?.cmd().args(masquerade(mode)).spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        daemon.stop(Signal::SIGTERM, Duration::from_secs(20))?;
        unchanged(&lab, &before).with_context(|| format!("{mode}, after {milliseconds} ms"))?;
    }
    Ok(())
}
