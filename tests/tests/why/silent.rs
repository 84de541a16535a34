//! Nothing is dropped, and nobody answers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::ends::tools::{ping, together};
use lab::{GATEWAY_INSIDE, SERVER};

use super::asking::{Answer, healthy, names};

#[test]
fn nothing_masquerades() -> Result<()> {
    names("not-translated", ("10.0.0.0/24", "router"), |node| {
        node.router.cmd("iptables").args(["-t", "nat", "-F"]).run()
    })
}

#[test]
fn the_instance_has_a_wrong_gateway() -> Result<()> {
    names("gateway-silent", ("10.0.0.254", "vm1"), |node| node.vm1.ip("route replace default via 10.0.0.254"))
}

/// It asks again each second.
#[test]
fn the_instance_itself_asks_a_wrong_gateway() -> Result<()> {
    let node = healthy()?;
    node.vm1.ip("route replace default via 10.0.0.254")?;
    node.vm1.sysctl("net.ipv4.neigh.eth0.mcast_solicit", "100")?;
    let cli = node.natbpf_cli()?;
    let asking = || node.vm1.cmd("ping").args(["-n", "-c", "1", "-w", "5", &SERVER.to_string()]).output();
    let (asked, answer) = together(asking, || Answer::to(&cli, &format!("--from tap0 --wait 4 {SERVER}")));
    ensure!(!asked?.status.success());
    answer?.is_for("gateway-silent", "10.0.0.254")
}

/// The answers about neighbours are no sign that nobody answers.
#[test]
fn the_instance_asks_its_gateway_and_sends_nothing() -> Result<()> {
    let node = healthy()?;
    let cli = node.natbpf_cli()?;
    let asking = || -> Result<()> {
        for _ in 0..20 {
            node.vm1.ip("neigh flush dev eth0")?;
            let pinged = ping(&node.vm1, GATEWAY_INSIDE, "-c 1")?;
            ensure!(pinged.received == 1, "{pinged:?}");
            sleep(Duration::from_millis(150));
        }
        Ok(())
    };
    let (asked, answer) = together(asking, || Answer::to(&cli, &format!("--from tap0 --wait 3 {SERVER}")));
    asked?;
    answer?.is_for("never-left", "tap0")
}

/// After a while that it chooses at random.
#[test]
fn a_router_that_answers_for_others_takes_its_time() -> Result<()> {
    let node = healthy()?;
    node.router.sysctl("net.ipv4.conf.qr.proxy_arp", "1")?;
    node.router.sysctl("net.ipv4.neigh.qr.proxy_delay", "70")?;
    node.vm1.ip("route replace default dev eth0")?;
    Answer::sent(&node, SERVER)?.is_answered()
}

#[test]
fn the_instance_has_no_route() -> Result<()> {
    names("instance-no-default-route", ("eth0", "vm1"), |node| node.vm1.ip("route del default"))
}

#[test]
fn nobody_has_the_destination() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::sent(&node, "203.0.113.99")?;
    answer.is_for("neighbour-silent", "203.0.113.99")?;
    answer.is_in("router")
}

#[test]
fn the_destination_answers_no_ping() -> Result<()> {
    names("ping-ignored", ("icmp_echo_ignore_all", "out"), |node| {
        node.out.sysctl("net.ipv4.icmp_echo_ignore_all", "1")
    })
}

/// What arrives is answered to nowhere.
#[test]
fn the_destination_has_no_way_back() -> Result<()> {
    let node = healthy()?;
    // Its own network is the router's no more.
    node.out.ip(&format!(
        "addr flush dev eth0\naddr add {SERVER}/32 dev eth0\nroute add unreachable 203.0.113.1"
    ))?;
    Answer::sent(&node, SERVER)?.is_for("no-way-back", "203.0.113.1")
}
