//! What connection tracking has noted of a flow.

use anyhow::{Context as _, Result, ensure};
use lab::{GATEWAY, GATEWAY_V6, SERVER, SERVER_V6, VM1};
use serde_json::Value;

use super::asking::{Answer, has_tcx, healthy};

/// The one entry that there is, and it is the router's.
fn entry(answer: &Answer) -> Result<&Value> {
    let entries = answer.json["conntrack"].as_array().context("a list")?;
    ensure!(entries.len() == 1 && entries[0]["namespace"] == "router", "{:#}", answer.json);
    Ok(&entries[0])
}

#[test]
fn a_connection_has_its_translation_and_a_state() -> Result<()> {
    let node = healthy()?;
    let _server = node.out.tcp_listener((SERVER, 8080))?;
    let cli = node.natbpf_cli()?;
    let answer = Answer::to(&cli, &format!("--from tap0 --send --tcp 8080 {SERVER}"))?;
    answer.is_answered()?;
    let entry = entry(&answer)?;
    let (original, reply) = (&entry["original"], &entry["reply"]);
    ensure!(original["source"] == VM1.to_string() && original["destination_port"] == 8080, "{entry:#}");
    ensure!(
        reply["destination"] == GATEWAY.to_string() && reply["source"] == SERVER.to_string(),
        "{entry:#}"
    );
    // An instance that gets the answer resets what it has not asked for.
    let state = if has_tcx()? { "SYN_RECV" } else { "CLOSE" };
    ensure!(entry["state"] == state && entry["replied"] == true, "{entry:#}");
    Ok(())
}

/// Of IPv6, and by an echo's identifier. Nobody has answered.
#[test]
fn a_ping_that_is_not_answered_has_an_entry() -> Result<()> {
    let node = healthy()?;
    node.router.ip(&format!("route add ::/0 via {SERVER_V6}"))?;
    node.out.sysctl("net.ipv6.icmp.echo_ignore_all", "1")?;
    let answer = Answer::sent(&node, SERVER_V6)?;
    let entry = entry(&answer)?;
    ensure!(entry["reply"]["destination"] == GATEWAY_V6.to_string(), "{entry:#}");
    ensure!(entry["replied"] == false && entry["state"].is_null(), "{entry:#}");
    let text = node.natbpf_cli()?.output(["why", "--from", "tap0", &SERVER_V6.to_string(), "--send"])?;
    let text = String::from_utf8(text.stdout)?;
    let line = text.lines().find(|line| line.starts_with("conntrack in router: "));
    ensure!(line.is_some_and(|line| line.ends_with(" [UNREPLIED]")), "{text}");
    Ok(())
}

/// What a rule has dropped is in no table, and where nothing translates it is said, too.
#[test]
fn what_is_not_translated_is_said_to_be() -> Result<()> {
    let node = healthy()?;
    for rule in ["-t nat -F", "-A FORWARD -m conntrack --ctstate INVALID -j DROP"] {
        node.router.cmd("iptables").args(rule.split(' ')).run()?;
    }
    let answer = Answer::sent(&node, SERVER)?;
    let entry = entry(&answer)?;
    ensure!(entry["reply"]["destination"] == VM1.to_string(), "{entry:#}");
    node.router.cmd("iptables").args(["-P", "FORWARD", "DROP"]).run()?;
    let answer = Answer::sent(&node, SERVER)?;
    ensure!(answer.json["conntrack"].as_array().is_some_and(Vec::is_empty), "{:#}", answer.json);
    Ok(())
}
