//! conntrack's one sysctl in the router's namespace: set where it is needed, and put back.

use anyhow::{Result, ensure};
use lab::{Node, wait_until};

use super::{SOON, no_complaint, start};

const SYSCTL: &str = "net.netfilter.nf_conntrack_tcp_be_liberal";

fn value(node: &Node) -> Result<String> {
    let path = format!("/proc/sys/{}", SYSCTL.replace('.', "/"));
    Ok(node.router.read(&path)?.trim().to_owned())
}

/// A node whose router's conntrack is strict.
fn strict() -> Result<Node> {
    let node = Node::new()?;
    node.router.sysctl(SYSCTL, "0")?;
    Ok(node)
}

#[test]
fn it_is_set_and_put_back_at_the_end() -> Result<()> {
    let node = strict()?;
    let natbpf = start(&node)?;
    ensure!(value(&node)? == "1", "{}", natbpf.log());
    ensure!(natbpf.log().contains("in the network namespace router"), "{}", natbpf.log());
    no_complaint(&natbpf)?;
    natbpf.stop()?;
    ensure!(value(&node)? == "0");
    Ok(())
}

#[test]
fn it_is_put_back_by_detach_after_a_kill() -> Result<()> {
    let node = strict()?;
    let cli = start(&node)?.kill()?;
    ensure!(value(&node)? == "1", "the datapath stays");
    let output = cli.output(["detach"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(value(&node)? == "0", "{output:?}");
    Ok(())
}

#[test]
fn a_daemon_after_a_killed_one_puts_it_back_at_its_end() -> Result<()> {
    let node = strict()?;
    start(&node)?.kill()?;
    let natbpf = start(&node)?;
    ensure!(value(&node)? == "1", "{}", natbpf.log());
    natbpf.stop()?;
    ensure!(value(&node)? == "0");
    Ok(())
}

#[test]
fn what_was_liberal_stays_so() -> Result<()> {
    let node = Node::new()?;
    node.router.sysctl(SYSCTL, "1")?;
    start(&node)?.stop()?;
    ensure!(value(&node)? == "1");
    Ok(())
}

/// Somebody has put it back while natbpf needs it.
#[test]
fn it_is_set_again() -> Result<()> {
    let node = strict()?;
    let natbpf = start(&node)?;
    node.router.sysctl(SYSCTL, "0")?;
    wait_until("conntrack is liberal again", 5 * SOON, || Ok(value(&node)? == "1"))?;
    natbpf.stop()?;
    ensure!(value(&node)? == "0");
    Ok(())
}
