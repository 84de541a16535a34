//! What stands in the way of a start: another daemon, another instance, pins of another layout. It is named
//! and left as it is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use lab::{Lab, bpffs, netns::state};
use natbpf_common::contract::SCHEMA;

use super::sentence::sentence;
use super::setup::{MODES, masquerade, other_instance, unchanged, works};

#[test]
fn a_second_daemon_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let mut daemon = lab.natbpf_cli()?.start(masquerade("auto"))?;
    let running = state::of(&lab.gw)?;
    let said = sentence(&daemon.cli().output(masquerade("auto"))?)?;
    ensure!(said.contains("another natbpf runs as instance lab") && said.contains("--instance"), "{said}");
    unchanged(&lab, &running)?;
    ensure!(daemon.process().is_running(), "{}", daemon.log());
    works(&lab)
}

/// Two translations of one packet, one behind the other, are hardly what anybody wants.
#[test]
fn another_instance_on_the_same_uplink_is_refused() -> Result<()> {
    for first in MODES {
        let lab = Lab::new()?;
        let _daemon = lab.natbpf_cli()?.start(masquerade(first))?;
        let running = state::of(&lab.gw)?;
        for second in MODES {
            let said = sentence(&other_instance(&lab, "other")?.args(masquerade(second)).output()?)?;
            ensure!(said.contains("attached to wan (") && said.contains("--coexist"), "{said}");
            unchanged(&lab, &running)?;
        }
        works(&lab)?;
    }
    Ok(())
}

#[test]
fn another_instance_on_another_uplink_is_welcome() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        lab.gw.ip("link add wan2 type veth peer name eth1 netns out\naddr add 198.18.0.1/24 dev wan2\n\
                   link set wan2 up")?;
        lab.out.ip("addr add 198.18.0.10/24 dev eth1\nlink set eth1 up")?;
        lab.wait_for_carriers()?;
        let before = state::of(&lab.gw)?;
        let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        let with_one = state::of(&lab.gw)?;
        let args = ["masquerade", "-o", "wan2", "--attach", mode];
        let other = other_instance(&lab, "other")?.args(args).spawn()?;
        let patience = std::time::Duration::from_secs(20);
        other.wait_for(lab::process::Stream::Stdout, patience, |line| line.starts_with("ready"))?;
        works(&lab)?;
        ensure!(lab::ends::tools::ping(&lab.vm1, "198.18.0.10", "-c 2")?.received == 2);
        other.stop(nix::sys::signal::Signal::SIGTERM, patience)?;
        unchanged(&lab, &with_one)?;
        works(&lab)?;
        ensure!(daemon.stop()?.status.success());
        unchanged(&lab, &before)?;
    }
    Ok(())
}

/// Interfaces have the same numbers and names there, and are others.
#[test]
fn another_namespace_is_not_mixed_up() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let cli = lab.natbpf_cli()?.start(masquerade(mode))?.kill()?;
        let attached = state::of(&lab.gw)?;
        let said = sentence(&cli.output(["--netns", "out", "masquerade", "-o", "eth0"])?)?;
        ensure!(
            said.contains("belongs to another network namespace") && said.contains("--instance"),
            "{said}"
        );
        if mode == "clsact" {
            let said = sentence(&cli.output(["--netns", "out", "detach"])?)?;
            ensure!(said.contains("another network namespace") && said.contains("--netns NAME"), "{said}");
        }
        unchanged(&lab, &attached)?;
        works(&lab)?;
    }
    Ok(())
}

/// The folder of the lab's instance.
fn instance() -> PathBuf {
    bpffs().join("natbpf/lab")
}

/// Pins a map that is none of natbpf's.
fn pin_foreign_map(lab: &Lab, path: &PathBuf) -> Result<()> {
    let geometry = ["type", "hash", "key", "4", "value", "4", "entries", "16", "name", "foreign"];
    lab.gw.cmd("bpftool").args(["map", "create"]).arg(path).args(geometry).run()
}

#[test]
fn a_map_of_another_layout_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let folder = instance().join(format!("v{SCHEMA}"));
    let pin = folder.join("FLOWS");
    fs::create_dir_all(&folder)?;
    pin_foreign_map(&lab, &pin)?;
    let before = state::of(&lab.gw)?;

    let cli = lab.natbpf_cli()?;
    for args in [&masquerade("auto")[..], &["status"], &["flows", "list"]] {
        let said = sentence(&cli.output(args)?)?;
        let named = said.contains(&format!("{} has another layout", pin.display()));
        ensure!(named && said.contains("`natbpf detach`"), "{said}");
        unchanged(&lab, &before)?;
    }
    let map = lab.gw.cmd("bpftool").args(["map", "show", "pinned"]).arg(&pin).output_text()?;
    ensure!(map.contains("name foreign"), "the map is another one now: {map}");

    // The way out that it named.
    cli.cmd().arg("detach").run()?;
    cli.start(masquerade("auto"))?;
    works(&lab)
}

#[test]
fn the_state_of_another_version_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let version = instance().join("v999");
    let pin = version.join("FLOWS");
    fs::create_dir_all(&version)?;
    pin_foreign_map(&lab, &pin)?;
    let before = state::of(&lab.gw)?;

    let cli = lab.natbpf_cli()?;
    let said = sentence(&cli.output(masquerade("auto"))?)?;
    let named = said.contains(&format!("{} holds the state of another version", version.display()));
    ensure!(named && said.contains("`natbpf detach`"), "{said}");
    unchanged(&lab, &before)?;
    // For another reason, too, a start that fails does not touch it.
    sentence(&cli.output(["masquerade", "-o", "wan9"])?)?;
    unchanged(&lab, &before)?;

    cli.cmd().arg("detach").run()?;
    cli.start(masquerade("auto"))?;
    works(&lab)
}
