//! Nothing is dropped, and nobody answers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::ends::tools::{ping, together};
use lab::{GATEWAY_INSIDE, SERVER, VM1};

use super::asking::{Answer, healthy, names};
use super::unseen::hide;

#[test]
fn nothing_masquerades() -> Result<()> {
    names("not-translated", ("10.0.0.0/24", "router"), |node| {
        node.router.cmd("iptables").args(["-t", "nat", "-F"]).run()
    })
}

/// A bridge passes it on, whose host routes other things.
#[test]
fn what_is_bridged_is_not_said_to_be_untranslated() -> Result<()> {
    let node = healthy()?;
    node.host.ip(&format!(
        "link set tap0 master br-ex\naddr add 203.0.113.50/24 dev br-ex\nroute add default via {SERVER}"
    ))?;
    node.host.sysctl("net.ipv4.ip_forward", "1")?;
    node.out.ip("addr add 10.0.0.1/24 dev eth0\naddr add 198.51.100.9/32 dev lo")?;
    node.out.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    hide(&node, &node.out)?;
    Answer::sent(&node, "198.51.100.9")?.is_without_mend("nothing-came-back", "eth0")
}

/// One further on may translate it.
#[test]
fn what_is_routed_as_it_is_may_be_translated_elsewhere() -> Result<()> {
    let node = healthy()?;
    for rule in ["-t nat -F", "-t nat -A POSTROUTING -m mark --mark 7 -j MASQUERADE"] {
        node.router.cmd("iptables").args(rule.split(' ')).run()?;
    }
    node.out.ip("route add 10.0.0.0/24 via 203.0.113.1")?;
    node.out.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    hide(&node, &node.out)?;
    let answer = Answer::sent(&node, SERVER)?;
    answer.is_for("untranslated", &VM1.to_string())?;
    ensure!(answer.mends() == ["ip netns exec router iptables -t nat -S POSTROUTING"], "{:#}", answer.json);
    Ok(())
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
