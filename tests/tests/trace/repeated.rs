//! What is repeated, which nothing between its two edges sees.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Node, SERVER, VM1, wait_until};

use super::tracing::{PATIENCE, during, goes, passage};

const VM: &str = "10.0.0.11";
const GATEWAY: &str = "203.0.113.1";
const OUTSIDE: &str = "203.0.113.10";

#[test]
fn a_repeated_packet_is_shown_as_it_came_and_as_it_goes_on() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "eth0"])?;
    let server = Reflector::start(&node.out, (SERVER, 9))?;
    let socket = node.vm1.udp((VM1, 5000))?;
    let repeated = || natbpf.counter("packets_repeated");
    wait_until("packets are repeated in both directions", PATIENCE, || {
        let before = repeated()?;
        server.ask(&socket, "question")?;
        Ok(repeated()? == before + 2)
    })?;
    let lines = during(natbpf.cli(), &["-p", "udp", "--sport", "5000"], || {
        for _ in 0..5 {
            server.ask(&socket, "question")?;
        }
        sleep(Duration::from_millis(100));
        Ok(())
    })?;

    let [_, after] = passage(&lines, ("tap0", "edge_ingress"), |line| goes(line, VM, OUTSIDE))?;
    ensure!(after["verdict"] == "repeated" && goes(&after, GATEWAY, OUTSIDE), "{after:#}");
    // Where the kernel tells.
    ensure!(after["target"].is_null() || after["target"] == "eth0", "{after:#}");
    let [_, after] = passage(&lines, ("eth0", "edge_ingress"), |line| goes(line, OUTSIDE, GATEWAY))?;
    ensure!(after["verdict"] == "repeated" && goes(&after, OUTSIDE, VM), "{after:#}");
    Ok(())
}

/// Out of the host a packet has the external address, so it is asked for by that.
#[test]
fn a_packet_is_shown_where_it_leaves() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "eth0"])?;
    let server = Reflector::start(&node.out, (SERVER, 9))?;
    let socket = node.vm1.udp((VM1, 5000))?;
    let lines = during(natbpf.cli(), &["-s", GATEWAY, "-d", OUTSIDE], || {
        for _ in 0..20 {
            server.ask(&socket, "question")?;
        }
        Ok(())
    })?;
    let [before, after] = passage(&lines, ("eth0", "edge_egress"), |line| goes(line, GATEWAY, OUTSIDE))?;
    ensure!(before["packet"] == after["packet"], "{after:#}");
    Ok(())
}
