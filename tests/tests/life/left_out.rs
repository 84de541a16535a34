//! An interface that cannot be had is left out: it is said once, `status` shows it, and everything else is
//! followed as before.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{INSIDE, Lab, Natbpf, SERVER, VM1, wait_until};
use nix::sys::signal::Signal;

use super::sentence::sentence;
use super::setup::{ConfigFile, MODES, seen, works};

const SECOND: Duration = Duration::from_secs(1);

/// Name and role of what the status shows as left out.
fn left_out(daemon: &Natbpf) -> Result<Vec<(String, String)>> {
    let status = daemon.status_json()?;
    let all = status["left_out"].as_array().context("left_out in the status")?.iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(all.map(|left| (text(&left["name"]), text(&left["role"]))).collect())
}

fn uplink(name: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), "uplink".to_owned())]
}

/// The uplink gets another address in the place of its own, and that is used within a second.
fn follows(lab: &Lab, last: u8, port: u16) -> Result<()> {
    let server = Reflector::start(&lab.out, (SERVER, 9000 + u16::from(last)))?;
    lab.gw.ip(&format!("addr flush dev wan\naddr add 203.0.113.{last}/24 dev wan"))?;
    let socket = lab.vm1.udp((VM1, port))?;
    let wanted = Some(format!("203.0.113.{last}:{port}").parse()?);
    wait_until("the new address is used", SECOND, || Ok(seen(&server, &socket)? == wanted))
}

fn warnings(daemon: &Natbpf, name: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(&format!("{name} is left out"))).count()
}

/// An interface with somebody's filter on it.
fn add_with_filter(lab: &Lab, name: &str) -> Result<()> {
    lab.gw.ip("link add x1 type veth peer name p1")?;
    lab.gw.cmd("tc").args("qdisc add dev x1 clsact".split(' ')).run()?;
    let filter = "filter add dev x1 ingress protocol ip u32 match u32 0 0 classid 1:1";
    lab.gw.cmd("tc").args(filter.split(' ')).run()?;
    lab.gw.ip(&format!("link set x1 name {name}\nlink set {name} up"))
}

#[test]
fn what_a_pattern_matches_and_somebody_has_is_left_out() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "w*", "-s", INSIDE, "--attach", mode])?;
        add_with_filter(&lab, "w1")?;
        wait_until("w1 is left out", 2 * SECOND, || Ok(left_out(&daemon)? == uplink("w1")))?;
        follows(&lab, 2, 5000)?;
        follows(&lab, 3, 5001)?;
        ensure!(warnings(&daemon, "w1") == 1, "{}", daemon.log());
        let text = daemon.status()?;
        ensure!(
            text.contains("left out") && text.contains("remove it, or run natbpf with --coexist"),
            "{text}"
        );
        // As soon as nothing is in the way any more.
        lab.gw.cmd("tc").args("qdisc del dev w1 clsact".split(' ')).run()?;
        wait_until("w1 is had", 2 * SECOND, || Ok(left_out(&daemon)?.is_empty()))?;
        let status = daemon.status_json()?;
        ensure!(status["uplinks"].as_array().is_some_and(|uplinks| uplinks.len() == 2), "{status}");
    }
    Ok(())
}

/// The same at the start; one that is named is a mistake then.
#[test]
fn at_the_start_a_pattern_does_without_and_a_name_does_not() -> Result<()> {
    let lab = Lab::new()?;
    add_with_filter(&lab, "w1")?;
    let cli = lab.natbpf_cli()?;
    let said = sentence(&cli.output(["masquerade", "-o", "w1"])?)?;
    ensure!(said.contains("attached to w1 (ingress) by somebody else"), "{said}");
    let daemon = cli.start(["masquerade", "-o", "w*", "-s", INSIDE])?;
    ensure!(left_out(&daemon)? == uplink("w1"), "{}", daemon.status()?);
    works(&lab)?;
    follows(&lab, 2, 5000)
}

/// And when the configuration is read again: what was left out meanwhile is asked for once more.
#[test]
fn at_a_reload_a_name_that_cannot_be_had_is_a_mistake() -> Result<()> {
    let lab = Lab::new()?;
    let rule = |out: &str| format!("[[masquerade]]\nout = \"{out}\"\nsource = [\"{INSIDE}\"]\n");
    let both = rule("wan") + &rule("w1");
    lab.gw.ip("link add w1 type veth peer name p1\nlink set w1 up")?;
    let config = ConfigFile::new(&both)?;
    let mut daemon = config.start(&lab)?;
    lab.gw.ip("link del w1")?;
    add_with_filter(&lab, "w1")?;
    wait_until("w1 is left out", 2 * SECOND, || Ok(left_out(&daemon)? == uplink("w1")))?;
    let said = config.reload(&mut daemon, &both)?;
    ensure!(said.contains("not reloaded") && said.contains("attached to w1"), "{said}");
    lab.gw.cmd("tc").args("filter del dev w1 ingress".split(' ')).run()?;
    config.reload_well(&mut daemon, &both)?;
    ensure!(left_out(&daemon)?.is_empty(), "{}", daemon.status()?);
    works(&lab)
}

#[test]
fn a_seventeenth_match_is_left_out_and_a_named_uplink_has_its_place() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "w*", "-s", INSIDE])?;
    for number in 1..=16 {
        lab.gw.ip(&format!("link add w{number} type veth peer name p{number}\nlink set w{number} up"))?;
    }
    wait_until("one is left out", 3 * SECOND, || Ok(left_out(&daemon)? == uplink("w16")))?;
    follows(&lab, 2, 5000)?;
    ensure!(warnings(&daemon, "w16") == 1, "{}", daemon.log());
    lab.gw.ip("link del w3")?;
    wait_until("there is room for it", 2 * SECOND, || Ok(left_out(&daemon)?.is_empty()))?;
    follows(&lab, 3, 5001)
}

/// Each uplink needs the room of all sources.
#[test]
fn an_uplink_for_which_there_is_no_room_is_left_out() -> Result<()> {
    let lab = Lab::new()?;
    let networks = (0..250).flat_map(|a| (0..10).map(move |b| format!("\"10.{a}.{}.0/24\"", b * 2)));
    let networks: Vec<String> = networks.collect();
    let toml = format!("[[masquerade]]\nout = \"w*\"\nsource = [{}]\n", networks.join(", "));
    let daemon = Natbpf::for_toml(&lab.natbpf_cli()?, &toml)?;
    lab.gw.ip("link add w1 type veth peer name p1\nlink set w1 up")?;
    wait_until("w1 is left out", 2 * SECOND, || Ok(left_out(&daemon)? == uplink("w1")))?;
    follows(&lab, 2, 5000)
}

#[test]
fn an_inside_that_cannot_be_had_is_left_out() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--hairpin"])?;
    add_with_filter(&lab, "vc")?;
    lab.gw.ip("route add 10.0.0.128/25 dev vc")?;
    wait_until("vc is left out", 3 * SECOND, || {
        Ok(left_out(&daemon)?.contains(&("vc".to_owned(), "inside".to_owned())))
    })?;
    follows(&lab, 2, 5000)
}

/// The `ingress` qdisc of those who shape what arrives.
#[test]
fn an_ingress_qdisc_in_the_way_is_named() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.cmd("tc").args("qdisc add dev wan handle ffff: ingress".split(' ')).run()?;
    let cli = lab.natbpf_cli()?;
    let said = sentence(&cli.output(["masquerade", "-o", "wan", "-s", INSIDE, "--attach", "clsact"])?)?;
    ensure!(said.contains("`ingress` qdisc") && said.contains("tc qdisc del dev wan ingress"), "{said}");
    let qdiscs = lab.gw.cmd("tc").args(["qdisc", "show", "dev", "wan"]).output_text()?;
    ensure!(qdiscs.contains("qdisc ingress ffff:"), "it is gone: {qdiscs}");
    lab.gw.cmd("tc").args("qdisc del dev wan ingress".split(' ')).run()?;
    let _daemon = cli.start(["masquerade", "-o", "wan", "-s", INSIDE, "--attach", "clsact"])?;
    works(&lab)
}

/// What the kernel tells of filters and qdiscs in three seconds.
fn told(lab: &Lab) -> Result<usize> {
    let mut monitor = lab.gw.cmd("tc").arg("monitor").spawn()?;
    thread::sleep(3 * SECOND);
    ensure!(monitor.is_running(), "{}", monitor.stderr_text());
    let told = monitor.stop(Signal::SIGTERM, SECOND)?;
    Ok(String::from_utf8_lossy(&told.stdout).lines().count())
}

/// The kernel tells the daemon of its own attempts, too, which are no reason for others.
#[test]
fn an_attempt_that_fails_is_not_its_own_reason() -> Result<()> {
    // Nothing can be had of the one, and of the other all but the last.
    let obstacles = [
        "qdisc add dev DEV ingress",
        "qdisc add dev DEV clsact\nfilter add dev DEV egress prio 50000 protocol ip u32 match u32 0 0\n\
        filter add dev DEV ingress prio 50001 protocol ip u32 match u32 0 0",
    ];
    for (obstacle, coexist) in obstacles.into_iter().zip([false, true]) {
        let lab = Lab::new()?;
        lab.gw.ip("link add w1 type veth peer name p1\nlink set w1 up")?;
        for command in
            obstacle.lines().flat_map(|line| ["w1", "port2"].map(|device| line.replace("DEV", device)))
        {
            lab.gw.cmd("tc").args(command.split(' ')).run()?;
        }
        let arguments = ["masquerade", "-o", "w*", "-s", INSIDE, "--attach", "clsact", "--offload", "on"];
        let arguments = arguments.into_iter().chain(coexist.then_some("--coexist"));
        let daemon = lab.natbpf_cli()?.start(arguments)?;
        let out = left_out(&daemon)?;
        ensure!(out == [uplink("w1")[0].clone(), ("port2".to_owned(), "port".to_owned())], "{out:?}");
        // Something else has them tried again, once.
        lab.gw.ip("link add x1 type veth peer name x2")?;
        let told = told(&lab)?;
        ensure!(told <= 40, "{told} lines\n{}", daemon.log());
        works(&lab)?;
        // As soon as nothing is in the way any more, or with the next look around.
        for device in ["w1", "port2"] {
            let kind = if coexist { "clsact" } else { "ingress" };
            lab.gw.cmd("tc").args(["qdisc", "del", "dev", device, kind]).run()?;
        }
        wait_until("both are had", 10 * SECOND, || Ok(left_out(&daemon)?.is_empty()))?;
        ensure!(warnings(&daemon, "w1") == 1, "{}", daemon.log());
    }
    Ok(())
}
