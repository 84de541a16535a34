//! Packets of IPv6.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use lab::ends::tools::{ping, together};
use lab::netns::counters::nstat;
use lab::{GATEWAY_V6, Node, SERVER, SERVER_V6, VM1_V6};

use super::asking::{Answer, broken_names, healthy as with_ipv4};
use super::healthy::{BACK, THERE};

/// Behind the router's default route.
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 9);

fn healthy() -> Result<Node> {
    let node = with_ipv4()?;
    node.router.ip(&format!("route add ::/0 via {SERVER_V6}"))?;
    Ok(node)
}

/// A healthy node is broken, and the answer to a ping names that.
fn names(cause: &str, at: (&str, &str), break_it: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    broken_names(&healthy()?, SERVER_V6, cause, at, break_it)
}

fn ip6tables(node: &Node, rule: &str) -> Result<()> {
    node.router.cmd("ip6tables").args(rule.split(' ')).run()
}

#[test]
fn a_probe_shows_all_devices_both_ways_and_the_translation() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::sent(&node, SERVER_V6)?;
    answer.is_answered()?;
    answer.passes(&THERE, &BACK)?;
    let (inside, outside) = (&answer.json["there"][4], &answer.json["there"][5]);
    let sources = [&inside["source"], &outside["source"]];
    ensure!(sources == [&VM1_V6.to_string(), &GATEWAY_V6.to_string()], "{:#}", answer.json);
    answer.is_kept(nstat(&node.vm1)?.get("Icmp6InEchoReplies").copied().unwrap_or_default())
}

#[test]
fn connections_and_datagrams_are_followed_by_their_ports() -> Result<()> {
    let node = healthy()?;
    let _server = node.out.tcp_listener((SERVER_V6, 8080))?;
    let cli = node.natbpf_cli()?;
    Answer::to(&cli, &format!("--from {VM1_V6} --send --tcp 8080 {SERVER_V6}"))?.is_answered()?;
    Answer::to(&cli, &format!("--from vm1 --send --udp 81 {SERVER_V6}"))?.is_for("nobody-listens", "81")
}

#[test]
fn real_packets_are_watched() -> Result<()> {
    let node = healthy()?;
    let cli = node.natbpf_cli()?;
    let pinging = || ping(&node.vm1, SERVER_V6, "-c 120 -i 0.05");
    let (pinged, answer) =
        together(pinging, || Answer::to(&cli, &format!("--from tap0 --wait 6 --ping {SERVER_V6}")));
    let (pinged, answer) = (pinged?, answer?);
    ensure!(pinged.received == pinged.sent, "{pinged:?}");
    answer.is_answered()
}

#[test]
fn an_address_of_the_other_family_is_none_of_the_instances() -> Result<()> {
    let node = healthy()?;
    let output = node.natbpf_cli()?.output(["why", "--from", &VM1_V6.to_string(), &SERVER.to_string()])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && said.contains("not of one family"), "{said}");
    Ok(())
}

#[test]
fn an_instance_without_an_address_of_ipv6() -> Result<()> {
    let node = healthy()?;
    node.vm1.ip(&format!("addr del {VM1_V6}/64 dev eth0"))?;
    let destination = SERVER_V6.to_string();
    let output = node.natbpf_cli()?.output(["why", "--from", "tap0", &destination, "--send"])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(3) && said.contains("vm1 has no address of IPv6"), "{said}");
    Ok(())
}

#[test]
fn a_rule_of_forward() -> Result<()> {
    let node = healthy()?;
    ip6tables(&node, "-A FORWARD -s fd00::1:1 -j DROP")?;
    ip6tables(&node, &format!("-A FORWARD -s {VM1_V6} -p icmpv6 -j DROP"))?;
    let answer = Answer::sent(&node, SERVER_V6)?;
    answer.is_for("dropped-by-rule", &VM1_V6.to_string())?;
    answer.is_in("router")?;
    let mend = format!("ip netns exec router ip6tables -t filter -D FORWARD -s {VM1_V6}");
    let first = answer.json["cause"]["mend"][0].as_str().unwrap_or_default();
    ensure!(first.starts_with(&mend), "{first}");
    Ok(())
}

/// It counts nothing, so that it is found by reading. That one is for IPv4 does not matter.
#[test]
fn a_rule_of_nftables() -> Result<()> {
    names("dropped-by-rule", ("oifname \"qg\"", "router"), |node| {
        let chain = "chain forward { type filter hook forward priority 0; oifname \"qg\" drop; }";
        let other = chain.replace("qg", "qr");
        let rules = format!("table ip6 guard {{ {chain}; }}; table ip other {{ {other}; }}");
        node.router.cmd("nft").arg(rules).run()
    })
}

#[test]
fn a_policy() -> Result<()> {
    names("dropped-by-rule", ("FORWARD DROP", "router"), |node| ip6tables(node, "-P FORWARD DROP"))
}

#[test]
fn forwarding_is_off() -> Result<()> {
    names("forwarding-off-ipv6", ("net.ipv6.conf.all.forwarding", "router"), |node| {
        node.router.sysctl("net.ipv6.conf.all.forwarding", "0")
    })
}

/// IPv4 has one.
#[test]
fn the_router_has_no_way_on() -> Result<()> {
    let node = with_ipv4()?;
    let answer = Answer::sent(&node, ELSEWHERE)?;
    answer.is_for("no-default-route-ipv6", "::/0")?;
    answer.is_in("router")
}

#[test]
fn the_instance_has_no_route() -> Result<()> {
    names("instance-no-route", ("eth0", "vm1"), |node| node.vm1.ip("route del ::/0"))
}

#[test]
fn the_instance_has_a_wrong_gateway() -> Result<()> {
    names("gateway-silent", ("fd00::a00:fe", "vm1"), |node| {
        node.vm1.ip("route replace ::/0 via fd00::a00:fe")
    })
}

#[test]
fn nobody_has_the_destination() -> Result<()> {
    let node = healthy()?;
    let nobody = Ipv6Addr::from(u128::from(SERVER_V6) + 1);
    let answer = Answer::sent(&node, nobody)?;
    answer.is_for("neighbour-silent", &nobody.to_string())?;
    answer.is_in("router")
}

#[test]
fn nothing_translates() -> Result<()> {
    names("untranslated", (&VM1_V6.to_string(), "router"), |node| ip6tables(node, "-t nat -F"))
}

#[test]
fn the_destination_answers_no_ping() -> Result<()> {
    names("ping-ignored", ("net.ipv6.icmp.echo_ignore_all", "out"), |node| {
        node.out.sysctl("net.ipv6.icmp.echo_ignore_all", "1")
    })
}

#[test]
fn a_packet_is_too_long_for_a_router() -> Result<()> {
    names("mtu", ("qg", "router"), |node| node.router.ip("link set qg mtu 1400"))
}

#[test]
fn a_port_is_down() -> Result<()> {
    names("port-down", ("qvb", ""), |node| node.host.ip("link set qvb down"))
}
