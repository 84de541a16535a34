//! Connections that are reset: to be refused is not to be answered.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lab::{Node, SERVER, SERVER_V6, VM1, VM1_V6};

use super::asking::{Answer, healthy};

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER), IpAddr::V6(SERVER_V6)];

fn healthy_for_both() -> Result<Node> {
    let node = healthy()?;
    node.router.ip(&format!("route add ::/0 via {SERVER_V6}"))?;
    Ok(node)
}

fn connected(node: &Node, server: IpAddr, port: u16) -> Result<Answer> {
    let answer = Answer::to(&node.natbpf_cli()?, &format!("--from tap0 --send --tcp {port} {server}"))?;
    ensure!(answer.json["answered"] == false, "{:#}", answer.json);
    Ok(answer)
}

#[test]
fn nobody_listens_on_the_port() -> Result<()> {
    let node = healthy_for_both()?;
    for server in SERVERS {
        let answer = connected(&node, server, 8080)?;
        answer.is_for("nobody-listens", "8080")?;
        answer.is_in("out")?;
    }
    Ok(())
}

#[test]
fn a_rule_resets() -> Result<()> {
    let node = healthy_for_both()?;
    let _servers = SERVERS.map(|server| node.out.tcp_listener((server, 8080)));
    let sources = [(IpAddr::V4(VM1), "iptables"), (IpAddr::V6(VM1_V6), "ip6tables")];
    for ((source, program), server) in sources.into_iter().zip(SERVERS) {
        let rule = format!("-A FORWARD -s {source} -p tcp -j REJECT --reject-with tcp-reset");
        node.router.cmd(program).args(rule.split(' ')).run()?;
        let answer = connected(&node, server, 8080)?;
        answer.is_for("dropped-by-rule", &source.to_string())?;
        answer.is_in("router")?;
    }
    Ok(())
}
