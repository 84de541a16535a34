//! What is to wait in a queue waits there.

use anyhow::{Result, ensure};
use lab::ends::tools::iperf3_before_and_after;
use lab::{Node, SERVER};

use super::{NEVER, shell, start};

/// A queue of 2 Mbit/s that comes while a transfer runs limits it.
fn limits(device: &str, direction: &str) -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let shape = || {
        let queue = format!("tc qdisc add dev {device} root tbf rate 2mbit burst 10kb latency 50ms");
        shell(&node.host, &queue)
    };
    let [before, after] = iperf3_before_and_after(&node.vm1, (&node.out, SERVER), direction, shape)?;
    ensure!(before.bits_per_second > 1e8, "{before:?}");
    ensure!(after.bits_per_second < 2e7, "the limit is gone past: {after:?}\n{}", natbpf.log());
    Ok(())
}

#[test]
fn a_queue_at_the_edge_to_the_outside() -> Result<()> {
    limits("eth0", "")
}

#[test]
fn a_queue_at_the_edge_of_an_instance() -> Result<()> {
    limits("tap0", "-R")
}

#[test]
fn a_queue_at_a_device_between() -> Result<()> {
    limits("int-qr", "")
}

#[test]
fn a_queue_at_a_device_between_on_the_way_back() -> Result<()> {
    limits("qvo", "-R")
}
