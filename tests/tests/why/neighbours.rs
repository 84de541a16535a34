//! Neighbours whom the router asks for: whom the packet waits for, and others.

use anyhow::{Result, ensure};
use lab::ends::tools::together;
use lab::{Namespace, Node, SERVER};

use super::asking::{Answer, healthy};

/// Nobody has these.
const GATEWAY: &str = "203.0.113.200";
const BACKUP: &str = "203.0.113.201";

/// Has somebody ask for a neighbour all the time.
fn asking<T>(namespace: &Namespace, target: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let ping = format!("-n -q -i 0.02 -w 4 {target}");
    let (asked, done) = together(|| namespace.cmd("ping").args(ping.split(' ')).output(), work);
    ensure!(!asked?.status.success(), "somebody has {target}");
    done
}

#[test]
fn that_very_route_is_replaced() -> Result<()> {
    let node = healthy()?;
    node.router.ip(&format!("route add 198.51.100.0/24 via {GATEWAY} metric 7"))?;
    let answer = Answer::sent(&node, "198.51.100.9")?;
    answer.is_for("neighbour-silent", GATEWAY)?;
    let mend = "ip netns exec router ip route replace 198.51.100.0/24 via GATEWAY dev qg metric 7";
    ensure!(answer.mends() == [mend], "{:#}", answer.json);
    Ok(())
}

/// The packet has left long ago.
#[test]
fn a_silent_backup_gateway_is_not_to_blame() -> Result<()> {
    let node = healthy()?;
    let answer = asked_for_backup(&node)?;
    answer.is_for("ping-ignored", "icmp_echo_ignore_all")
}

fn asked_for_backup(node: &Node) -> Result<Answer> {
    node.router.ip(&format!("route add default via {BACKUP} metric 50"))?;
    node.router.sysctl("net.ipv4.neigh.qg.retrans_time_ms", "20")?;
    node.out.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    asking(&node.router, BACKUP, || Answer::sent(node, SERVER))
}

#[test]
fn a_target_of_dnat_that_nobody_has() -> Result<()> {
    let node = healthy()?;
    let rule =
        "-t nat -A PREROUTING -i qr -d 203.0.113.1 -p tcp --dport 80 -j DNAT --to-destination 203.0.113.99";
    node.router.cmd("iptables").args(rule.split(' ')).run()?;
    let answer = Answer::to(&node.natbpf_cli()?, "--from tap0 --send --tcp 80 203.0.113.1")?;
    answer.is_for("neighbour-silent", "203.0.113.99")?;
    answer.is_in("router")
}
