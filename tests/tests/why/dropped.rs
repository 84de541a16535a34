//! Rules that drop: each is named, with the namespace that it is in.

use anyhow::{Result, ensure};
use lab::ends::tools::together;
use lab::{GATEWAY, GATEWAY_INSIDE, Node, SERVER, VM2};

use super::asking::{Answer, healthy, names};

fn iptables(node: &Node, rule: &str) -> Result<()> {
    node.router.cmd("iptables").args(rule.split(' ')).run()
}

#[test]
fn a_rule_of_forward() -> Result<()> {
    names("dropped-by-rule", ("10.0.0.11", "router"), |node| {
        iptables(node, "-A FORWARD -s 10.0.0.12 -j DROP")?;
        iptables(node, "-A FORWARD -s 10.0.0.11 -p icmp -j DROP")
    })
}

#[test]
fn a_rule_against_what_comes_back() -> Result<()> {
    names("dropped-by-rule", ("qr", "router"), |node| iptables(node, "-A FORWARD -o qr -d 10.0.0.11 -j DROP"))
}

#[test]
fn a_rule_before_routing() -> Result<()> {
    names("dropped-by-rule", ("203.0.113.10", "router"), |node| {
        iptables(node, "-t raw -A PREROUTING -s 203.0.113.10 -j DROP")
    })
}

/// What others send is counted, too: by a policy that is asked about none of what is passed on, and by a rule beside.
#[test]
fn a_rule_that_counts_others_is_not_blamed() -> Result<()> {
    let node = healthy()?;
    iptables(&node, "-P INPUT DROP")?;
    iptables(&node, &format!("-A FORWARD -s {VM2} -j DROP"))?;
    iptables(&node, "-A FORWARD -s 10.0.0.11 -j DROP")?;
    let noise = |to: &str| {
        let ping = format!("-n -q -i 0.005 -w 6 {to}");
        node.vm2.cmd("ping").args(ping.split(' ')).output()
    };
    for target in [GATEWAY_INSIDE, SERVER] {
        let (made, answer) = together(|| noise(&target.to_string()), || Answer::sent(&node, SERVER));
        ensure!(!made?.status.success(), "{target} answers");
        let answer = answer?;
        let cause = &answer.json["cause"];
        let counted = cause["evidence"].to_string().contains("counted each probe");
        ensure!(counted && cause["object"].to_string().contains("10.0.0.11"), "{:#}", answer.json);
        ensure!(!cause["mend"].to_string().contains("-P INPUT"), "{:#}", answer.json);
    }
    Ok(())
}

/// It counts nothing, so that it is found by reading.
#[test]
fn a_rule_of_nftables() -> Result<()> {
    names("dropped-by-rule", ("oifname \"qr\"", "router"), |node| {
        let rules = "table inet guard { chain forward { type filter hook forward priority 0; oifname \"qr\" drop; }; }";
        node.router.cmd("nft").arg(rules).run()
    })
}

/// It is for the router itself, which no rule of FORWARD is asked about.
#[test]
fn a_policy_of_nftables_for_the_router_itself() -> Result<()> {
    let node = healthy()?;
    let chain = |name: &str| format!("chain {name} {{ type filter hook {name} priority 0; policy drop; }}");
    let rules = format!("table inet guard {{ {}; {}; }}", chain("forward"), chain("input"));
    node.router.cmd("nft").arg(rules).run()?;
    for (destination, hook) in [(GATEWAY, "input"), (SERVER, "forward")] {
        let answer = Answer::sent(&node, destination)?;
        let cause = answer.json["cause"].to_string();
        ensure!(cause.contains(&format!("hook {hook} ")), "{:#}", answer.json);
    }
    let answer = Answer::sent(&node, GATEWAY)?;
    answer.is_for("dropped-by-rule", "hook input ")?;
    let mend = "ip netns exec router nft chain inet guard input '{' policy accept ';' '}'";
    ensure!(answer.mends() == [mend], "{:#}", answer.json);
    Ok(())
}

#[test]
fn a_policy() -> Result<()> {
    names("forward-dropped", ("FORWARD DROP", "router"), |node| iptables(node, "-P FORWARD DROP"))
}

/// What is longer than the bucket.
#[test]
fn a_shaper() -> Result<()> {
    names("queue-full", ("qg", "router"), |node| {
        node.router
            .cmd("tc")
            .args("qdisc add dev qg root tbf rate 8mbit burst 90 limit 1000".split(' '))
            .run()
    })
}

/// A byte a second, and the bucket is empty after the router has asked for its neighbour.
#[test]
fn a_shaper_that_has_it_wait() -> Result<()> {
    names("queued", ("qg", "router"), |node| {
        node.router
            .cmd("tc")
            .args("qdisc add dev qg root tbf rate 8bit burst 100 limit 10000".split(' '))
            .run()
    })
}

#[test]
fn a_queue_without_room() -> Result<()> {
    names("queue-takes-nothing", ("qvb", ""), |node| {
        node.host.cmd("tc").args("qdisc add dev qvb root pfifo limit 0".split(' ')).run()
    })
}
