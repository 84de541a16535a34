//! What is to wait in a queue waits there.

use std::thread;

use anyhow::{Result, bail, ensure};
use lab::ends::tools::iperf3;
use lab::{Node, SERVER};

use super::{NEVER, SOON, shell, start};

/// A queue of 2 Mbit/s that comes while a transfer runs limits it.
fn limits(device: &str, direction: &str) -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let before = iperf3(&node.vm1, (&node.out, SERVER), &format!("-t 1 {direction}"))?;
    ensure!(before.bits_per_second > 1e8, "{before:?}");
    let shape = thread::scope(|scope| {
        let shaping = scope.spawn(|| {
            thread::sleep(SOON);
            shell(
                &node.host,
                &format!("tc qdisc add dev {device} root tbf rate 2mbit burst 10kb latency 50ms"),
            )
        });
        let stream = iperf3(&node.vm1, (&node.out, SERVER), &format!("-t 6 -O 3 {direction}"));
        match shaping.join() {
            Ok(shaped) => shaped.and(stream),
            Err(_) => bail!("the shaper panicked"),
        }
    })?;
    ensure!(shape.bits_per_second < 2e7, "the limit is gone past: {shape:?}\n{}", natbpf.log());
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
