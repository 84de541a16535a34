//! natbpf itself.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::ends::tools::ping;
use lab::{INSIDE, Lab, Natbpf, SERVER, VM1, bpffs, wait_until};

use super::examination::{Examination, healthy, iptables};

const SOON: Duration = Duration::from_secs(5);

/// A lab that natbpf alone translates in.
fn translated(options: &str) -> Result<(Lab, Natbpf)> {
    let lab = Lab::new()?;
    lab.gw.ip(&format!("route add default via {SERVER}"))?;
    let arguments = format!("masquerade -o wan -s {INSIDE} {options}");
    let daemon = lab.natbpf_cli()?.start(arguments.split_whitespace())?;
    Ok((lab, daemon))
}

/// Flows of an instance, each from a port of its own.
fn begin(lab: &Lab, count: u16) -> Result<Vec<UdpSocket>> {
    let sockets = (0..count).map(|number| {
        let socket = lab.vm1.udp((VM1, 20_000 + number))?;
        // What is refused is said by ICMP at once.
        let _ = socket.send_to(b"a flow", (SERVER, 9));
        Ok(socket)
    });
    sockets.collect()
}

#[test]
fn natbpf_translates_and_nothing_is_wrong() -> Result<()> {
    let (lab, _daemon) = &translated("")?;
    ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 1);
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

/// It does not ask conntrack.
#[test]
fn what_is_not_tracked_is_translated() -> Result<()> {
    let (lab, _daemon) = &translated("")?;
    iptables(lab, "-t raw -A PREROUTING -i br0 -j NOTRACK\n-t raw -A PREROUTING -i wan -j CT --zone 5")?;
    ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 1);
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

#[test]
fn no_daemon_runs() -> Result<()> {
    let (lab, daemon) = translated("")?;
    let cli = daemon.kill()?;
    ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 1);
    Examination::of(&cli)?.is_alone("natbpf-no-daemon", "lab")
}

#[test]
fn another_version_was_here() -> Result<()> {
    let lab = healthy()?;
    fs::create_dir_all(bpffs().join("natbpf/lab/v1"))?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("natbpf-other-version", "lab")
}

/// Somebody has a filter on it.
#[test]
fn an_uplink_cannot_be_had() -> Result<()> {
    let lab = healthy()?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "w*", "-s", INSIDE])?;
    // It has it before it has the name.
    lab.gw.ip("link add x1 type veth peer name p1")?;
    lab.gw.cmd("tc").args("qdisc add dev x1 clsact".split(' ')).run()?;
    let filter = "filter add dev x1 ingress protocol ip u32 match u32 0 0 classid 1:1";
    lab.gw.cmd("tc").args(filter.split(' ')).run()?;
    lab.gw.ip("link set x1 name w1\nlink set w1 up")?;
    wait_until("w1 is left out", SOON, || {
        Ok(daemon.status_json()?["left_out"].as_array().is_some_and(|left| !left.is_empty()))
    })?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("natbpf-uplink-left-out", "w1")
}

#[test]
fn an_uplink_is_down() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("link add w1 type veth peer name p1\naddr add 198.51.100.1/24 dev w1\nlink set w1 up")?;
    let _daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "w*", "-s", INSIDE])?;
    lab.gw.ip("link set w1 down")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("natbpf-uplink-down", "w1")
}

#[test]
fn the_uplink_has_no_address() -> Result<()> {
    let (lab, daemon) = &translated("")?;
    lab.gw.ip(&format!(
        "addr flush dev wan\nroute add default dev wan\nneigh replace {SERVER} lladdr 02:00:00:00:00:10 dev wan"
    ))?;
    wait_until("another address is taken", SOON, || {
        Ok(daemon.status_json()?["uplinks"][0]["addresses"][0] == "10.0.0.1")
    })?;
    ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 0);
    Examination::of(&lab.natbpf_cli()?)?.is_alone("natbpf-no-address", "wan")
}

#[test]
fn the_table_of_flows_is_full() -> Result<()> {
    let (lab, daemon) = &translated("--max-flows 16 --max-flows-per-source 0")?;
    let _sockets = begin(lab, 40)?;
    ensure!(daemon.counter("flows_dropped_early")? > 0, "{}", daemon.status()?);
    Examination::of(&lab.natbpf_cli()?)?.is_alone("natbpf-flows-full", "lab")
}

#[test]
fn no_port_is_free() -> Result<()> {
    let (lab, daemon) = &translated("--to-ports 50000-50001")?;
    let _sockets = begin(lab, 5)?;
    ensure!(daemon.counter("no_port")? > 0, "{}", daemon.status()?);
    Examination::of(&lab.natbpf_cli()?)?.is_alone("natbpf-ports-used-up", "lab")
}

#[test]
fn a_source_has_too_many_flows() -> Result<()> {
    let (lab, daemon) = &translated("--max-flows-per-source 3")?;
    let _sockets = begin(lab, 5)?;
    ensure!(daemon.counter("quota")? > 0, "{}", daemon.status()?);
    Examination::of(&lab.natbpf_cli()?)?.notes("natbpf-quota", "lab")
}

#[test]
fn a_rule_has_to_see_every_packet() -> Result<()> {
    let lab = healthy()?;
    let rule = "-A FORWARD -p udp -m limit --limit 10000/second -j ACCEPT";
    lab.gw.cmd("iptables").args(rule.split(' ')).run()?;
    let daemon = lab.natbpf_cli()?.start(["accelerate"])?;
    let place = || Ok(daemon.status_json()?["obstacles"][0]["place"].as_str().map(str::to_owned));
    wait_until("the rule is found", SOON, || place().map(|place: Option<_>| place.is_some()))?;
    let place = place()?.context("the rule")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("natbpf-leaves-to-kernel", &place)
}
