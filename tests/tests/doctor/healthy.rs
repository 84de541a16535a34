//! No false alarm where nothing is wrong.

use anyhow::{Result, ensure};
use lab::{Node, SERVER};

use super::examination::{Examination, healthy};
use super::pretence::Pretence;

#[test]
fn the_standard_lab() -> Result<()> {
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.is_healthy()?;
    let text = cli.cmd().arg("doctor").output_text()?;
    ensure!(text.contains("4 network namespaces: no cause was found"), "{text}");
    Ok(())
}

#[test]
fn a_node_of_a_cloud() -> Result<()> {
    let node = Node::new()?;
    node.router.ip(&format!("route add default via {SERVER}"))?;
    Examination::of(&node.natbpf_cli()?)?.is_healthy()
}

/// What stands first is met first.
#[test]
fn two_causes_are_both_named_in_their_order() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.ipv4.ip_forward", "0")?;
    lab.gw.cmd("iptables").args(["-P", "FORWARD", "DROP"]).run()?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    let names: Vec<_> = found.causes().into_iter().map(|(cause, _)| cause).collect();
    ensure!(names == ["forwarding-off", "forward-dropped"], "{:#}", found.report);
    Ok(())
}

/// A warning, too.
#[test]
fn what_is_met_first_stands_first() -> Result<()> {
    let lab = healthy()?;
    let _file = Pretence::new("/proc/sys/net/core/netdev_max_backlog", "10\n")?;
    lab.gw.cmd("iptables").args(["-P", "FORWARD", "DROP"]).run()?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    let names: Vec<_> = found.causes().into_iter().map(|(cause, _)| cause).collect();
    ensure!(names == ["backlog-short", "forward-dropped"], "{:#}", found.report);
    Ok(())
}

/// Without them it would see no rules, and say so.
#[test]
fn the_programs_that_show_rules_are_there() -> Result<()> {
    let lab = healthy()?;
    lab.gw.cmd("iptables-nft-save").run()?;
    lab.gw.cmd("iptables-legacy-save").run()?;
    lab.gw.cmd("ip6tables-nft-save").run()?;
    lab.gw.cmd("ip6tables-legacy-save").run()
}
