//! Programs that somebody takes off while the daemon runs: they are attached again, and the log shouts. What
//! `status` shows is what the kernel has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Capture, INSIDE, Lab, Natbpf, bpffs, wait_until};
use natbpf_common::contract::SCHEMA;
use serde_json::Value;

use super::setup::{MODES, masquerade, works};

const SECOND: Duration = Duration::from_secs(1);

fn tc(lab: &Lab, line: &str) -> Result<()> {
    lab.gw.cmd("tc").args(line.split(' ')).run()
}

fn both(status: &Value) -> bool {
    let attached = &status["uplinks"][0]["attached"];
    attached["egress"].is_object() && attached["ingress"].is_object()
}

fn shouted(daemon: &Natbpf) -> usize {
    let said = daemon.log();
    said.lines().filter(|line| line.contains("ERROR somebody has taken natbpf's program off")).count()
}

/// What was taken off is there again, and nothing leaves untranslated from then on.
fn is_attached_again(lab: &Lab, daemon: &Natbpf, before: usize) -> Result<()> {
    wait_until("it is said", 3 * SECOND, || Ok(shouted(daemon) > before))?;
    wait_until("it is attached again", SECOND, || Ok(both(&daemon.status_json()?)))?;
    let leaks = Capture::start(&lab.out, "eth0", "src net 10.0.0.0/24")?;
    works(lab)?;
    let leaks = leaks.stop()?;
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

/// The qdisc with all filters, those of a direction, and one by its priority.
#[test]
fn filters_that_are_deleted_come_back() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("clsact"))?;
    works(&lab)?;
    let ways = [
        "qdisc del dev wan clsact",
        "filter del dev wan egress",
        "filter del dev wan ingress",
        "filter del dev wan egress pref 50000",
    ];
    for way in ways {
        let before = shouted(&daemon);
        tc(&lab, way)?;
        is_attached_again(&lab, &daemon, before).with_context(|| format!("{way}\n{}", daemon.log()))?;
    }
    // The qdisc is natbpf's still.
    ensure!(daemon.stop()?.status.success());
    let qdiscs = lab.gw.cmd("tc").args(["qdisc", "show", "dev", "wan"]).output_text()?;
    ensure!(!qdiscs.contains("clsact"), "{qdiscs}");
    Ok(())
}

/// The pins of links of a kind.
fn links(kind: &str) -> Result<Vec<PathBuf>> {
    let folder = bpffs().join(format!("natbpf/lab/v{SCHEMA}"));
    let pins = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_of_kind =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind));
    Ok(pins.into_iter().filter(is_of_kind).collect())
}

fn detach(lab: &Lab, link: &Path) -> Result<()> {
    lab.gw.cmd("bpftool").args(["link", "detach", "pinned"]).arg(link).run()
}

/// What somebody puts on an uplink that natbpf is at is lived with, and so it is where natbpf has to come back.
const FILTER: &str = "filter add dev wan ingress prio 10 bpf bytecode 1,6\\ 0\\ 0\\ 0,";

fn shell(lab: &Lab, command: &str) -> Result<()> {
    lab.gw.cmd("sh").args(["-c", command]).run()
}

#[test]
fn they_come_back_beside_a_filter_that_came_later() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let mut daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        if mode == "tcx" {
            tc(&lab, "qdisc add dev wan clsact")?;
        }
        shell(&lab, &format!("tc {FILTER}"))?;
        works(&lab)?;
        let before = shouted(&daemon);
        if mode == "tcx" {
            let found = links("tcx_")?.into_iter().find(|link| link.to_string_lossy().ends_with("_egress"));
            detach(&lab, &found.context("a link")?)?;
        } else {
            shell(&lab, &format!("tc qdisc del dev wan clsact; tc qdisc add dev wan clsact; tc {FILTER}"))?;
        }
        is_attached_again(&lab, &daemon, before).with_context(|| format!("{mode}\n{}", daemon.log()))?;
        // And a start finds them there.
        daemon = daemon.kill()?.start(masquerade(mode))?;
        ensure!(both(&daemon.status_json()?), "{mode}: {}", daemon.log());
        works(&lab)?;
    }
    Ok(())
}

/// A pin that cannot be looked at says nothing of the others.
#[test]
fn what_cannot_be_seen_hides_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("clsact"))?;
    let pin = links("clsact_")?.into_iter().next().context("a pin")?;
    let interface = pin.to_string_lossy().rsplit('_').nth(1).context("an interface")?.to_owned();
    let unreadable = pin.with_file_name(format!("tcx_{interface}_inside"));
    fs::create_dir(&unreadable)?;
    let before = shouted(&daemon);
    tc(&lab, "qdisc del dev wan clsact")?;
    let said = wait_until("it is said", 3 * SECOND, || Ok(shouted(&daemon) > before));
    // `natbpf status` does not guess either.
    fs::remove_dir(&unreadable)?;
    said.and_then(|()| is_attached_again(&lab, &daemon, before)).with_context(|| daemon.log())
}

/// Nothing tells of that: it is looked for.
#[test]
fn links_that_are_detached_come_back() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(masquerade("tcx"))?;
    for hook in ["egress", "ingress"] {
        let found =
            links("tcx_")?.into_iter().find(|link| link.to_string_lossy().ends_with(&format!("_{hook}")));
        let before = shouted(&daemon);
        detach(&lab, &found.context("a link")?)?;
        is_attached_again(&lab, &daemon, before)?;
    }
    ensure!(daemon.stop()?.status.success());
    Ok(())
}

#[test]
fn an_xdp_link_that_is_detached_comes_back() -> Result<()> {
    let lab = Lab::new()?;
    for (namespace, device) in [(&lab.vm1, "eth0"), (&lab.out, "eth0")] {
        namespace.cmd("ethtool").args(["-K", device, "tx", "off", "gro", "on"]).run()?;
    }
    let arguments =
        ["masquerade", "-o", "wan", "-s", INSIDE, "--port", "port1", "--hook", "xdp", "--offload", "on"];
    let daemon = lab.natbpf_cli()?.start(arguments)?;
    let hook = || -> Result<bool> {
        let status = daemon.status_json()?;
        let hooks = status["hooks"].as_array().context("hooks in the status")?.iter();
        Ok(hooks.filter(|hook| hook["name"] == "wan").all(|hook| hook["hook"] == "xdp"))
    };
    ensure!(hook()?, "{}", daemon.status()?);
    let found = links("xdp_")?.into_iter().find(|link| link.to_string_lossy().ends_with("_uplink"));
    detach(&lab, &found.context("a link")?)?;
    wait_until("it is said", 3 * SECOND, || Ok(shouted(&daemon) > 0))?;
    wait_until("there is another", 2 * SECOND, hook)
}

/// Nobody attaches again, and status does not say that it is there.
#[test]
fn status_shows_what_the_kernel_has() -> Result<()> {
    for mode in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        let cli = lab.natbpf_cli()?.start(masquerade(mode))?.kill()?;
        ensure!(both(&cli.status_json()?));
        match mode {
            "tcx" => {
                let found =
                    links("tcx_")?.into_iter().find(|link| link.to_string_lossy().ends_with("_egress"));
                detach(&lab, &found.context("a link")?)?;
            }
            _ => tc(&lab, "qdisc del dev wan clsact")?,
        }
        ensure!(!both(&cli.status_json()?), "{mode}: {}", cli.status_json()?);
        ensure!(cli.cmd().arg("status").output_text()?.contains("missing"));
        // The next start makes it whole.
        let daemon = cli.start(masquerade(mode))?;
        ensure!(both(&daemon.status_json()?));
        works(&lab)?;
    }
    Ok(())
}
