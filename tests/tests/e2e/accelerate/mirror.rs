//! Who mirrors the packets of a node sees all of them.

use std::thread;

use anyhow::{Result, ensure};
use lab::netns::counters;
use lab::{Node, becomes_true};

use super::{NEVER, SOON, is_repeated, repeated_from, shell, start, start_between};
use crate::e2e::offload::pulse::Pulse;

/// Everything of IPv4 that passes a hook is sent out of `probe`, too.
fn mirror(node: &Node, device: &str, hook: &str, probe: &str) -> Result<()> {
    shell(
        &node.host,
        &format!(
            "tc qdisc add dev {device} clsact && tc filter add dev {device} {hook} protocol ip u32 match u32 0 0 \
             action mirred egress mirror dev {probe}"
        ),
    )
}

fn a_probe(node: &Node) -> Result<()> {
    node.host.ip("link add probe type veth peer name monitor\nlink set probe up\nlink set monitor up")
}

/// Packets that the probe was given, of so many that vm1 has sent, in a second.
fn seen(node: &Node) -> Result<[u64; 2]> {
    let count = || -> Result<[u64; 2]> {
        Ok([counters::sent(&node.host, "probe")?, counters::sent(&node.vm1, "eth0")?])
    };
    let before = count()?;
    thread::sleep(SOON);
    let after = count()?;
    Ok([after[0] - before[0], after[1] - before[1]])
}

/// A mirror that comes later sees nearly all packets from a moment on.
fn sees_all(device: &str, hook: &str) -> Result<()> {
    let node = Node::new()?;
    a_probe(&node)?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    mirror(&node, device, hook, "probe")?;
    let all = || {
        let [seen, sent] = seen(&node)?;
        Ok(sent > 50 && seen * 10 > sent * 9)
    };
    ensure!(
        becomes_true(3 * SOON, all)?,
        "of packets that pass {device} it sees {:?}\n{}",
        seen(&node)?,
        natbpf.log()
    );
    pulse.goes_on(SOON)?;
    shell(&node.host, &format!("tc qdisc del dev {device} clsact"))?;
    is_repeated(&natbpf)
}

#[test]
fn a_mirror_at_an_edge() -> Result<()> {
    sees_all("tap0", "ingress")
}

#[test]
fn a_mirror_at_the_other_edge() -> Result<()> {
    sees_all("eth0", "egress")
}

#[test]
fn a_mirror_at_a_device_between() -> Result<()> {
    sees_all("qvo", "ingress")
}

#[test]
fn a_mirror_at_the_end_of_a_pair_between() -> Result<()> {
    sees_all("int-qr", "egress")
}

/// What leaves twice, by two edges, has no path, also where natbpf is told not to mind who stands between.
#[test]
fn a_mirror_to_another_edge() -> Result<()> {
    let node = Node::new()?;
    mirror(&node, "qvo", "ingress", "tap1")?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--coexist"])?;
    let pulse = Pulse::start(&node)?;
    let count = || -> Result<[u64; 2]> {
        Ok([counters::sent(&node.host, "tap1")?, counters::sent(&node.vm1, "eth0")?])
    };
    let before = count()?;
    thread::sleep(2 * SOON);
    let after = count()?;
    let [copies, sent] = [after[0] - before[0], after[1] - before[1]];
    ensure!(sent > 100 && copies * 10 > sent * 9, "tap1 was given {copies} copies of {sent} packets");
    let from_vm1 = repeated_from(&natbpf, "tap0")?;
    ensure!(from_vm1 == 0, "{from_vm1} of vm1's packets were repeated");
    pulse.goes_on(SOON)
}
