//! A device that goes while paths lead to it, and another one that has its index.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::wire::Wire;
use lab::{GATEWAY_INSIDE, Namespace, Natbpf, Node, VM1, VM2, wait_until};
use natbpf_common::wire::protocol;

use super::{NEVER, SOON, ask, repeated_from, start_between};

fn index(namespace: &Namespace, device: &str) -> Result<u64> {
    let text = namespace.cmd("ip").args(["-j", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links[0]["ifindex"].as_u64().with_context(|| format!("{device} has no index: {text}"))
}

/// Packets from vm1 to vm2 are repeated.
fn speak(node: &Node, natbpf: &Natbpf) -> Result<()> {
    // Their start ends paths once more.
    let are_repeated = || {
        ask(natbpf, (&node.vm1, VM1.into()), (&node.vm2, VM2.into()), 100)?;
        Ok(repeated_from(natbpf, "tap0")? > 80)
    };
    wait_until("packets are repeated", 3 * SOON, are_repeated).with_context(|| natbpf.log())
}

/// vm2 is gone, and its device's index leads to the outside.
fn exchange(node: &Node) -> Result<Wire> {
    let number = index(&node.host, "tap1")?;
    node.host.ip(&format!(
        "link del tap1\nlink add other index {number} type veth peer name eth1 netns out\nlink set other up"
    ))?;
    node.out.ip("link set eth1 up")?;
    Wire::between(&node.out, "eth1", (&node.host, "other"))
}

/// Sends for a time, and says how long after the start the last of that came where it is not for anybody.
fn astray(socket: &UdpSocket, wire: &Wire, time: Duration) -> Result<Duration> {
    let (start, mut last) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < time {
        socket.send_to(b"for vm2", (VM2, 9000))?;
        let seen = wire.find_within(Duration::from_millis(2), |seen| seen.protocol() == protocol::UDP)?;
        if seen.is_some() {
            last = start.elapsed();
        }
    }
    Ok(last)
}

/// vm1 goes on knowing vm2's MAC address, so that it goes on sending.
fn remember(node: &Node) -> Result<()> {
    let address = lab::netns::link::colons(lab::link_address(&node.vm2, "eth0")?);
    node.vm1.ip(&format!("neigh replace {VM2} lladdr {address} dev eth0 nud permanent"))
}

#[test]
fn another_device_with_the_same_index() -> Result<()> {
    let node = Node::new()?;
    remember(&node)?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    speak(&node, &natbpf)?;
    let wire = exchange(&node)?;
    let last = astray(&node.vm1.udp((VM1, 5000))?, &wire, 2 * SOON)?;
    ensure!(last < SOON, "after {last:?} packets for vm2 still came to who has its device's index");
    // It is there again, by the same index, and all is as before.
    let number = index(&node.host, "other")?;
    node.host.ip(&format!(
        "link del other\nlink add tap1 index {number} type veth peer name eth0 netns vm2\n\
         link set tap1 master qbr up"
    ))?;
    node.vm2.ip(&format!(
        "addr add {VM2}/24 dev eth0\nlink set eth0 up\nroute add default via {GATEWAY_INSIDE}"
    ))?;
    node.vm1.ip(&format!("neigh del {VM2} dev eth0"))?;
    thread::sleep(SOON);
    let repeated = ask(&natbpf, (&node.vm1, VM1.into()), (&node.vm2, VM2.into()), 100)?;
    ensure!(repeated > 180, "of 200 packets {repeated} were repeated\n{}", natbpf.log());
    Ok(())
}

#[test]
fn another_device_with_the_same_index_while_nobody_follows() -> Result<()> {
    let node = Node::new()?;
    remember(&node)?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", "2s"])?;
    speak(&node, &natbpf)?;
    natbpf.kill()?;
    let wire = exchange(&node)?;
    let last = astray(&node.vm1.udp((VM1, 5000))?, &wire, 4 * SOON)?;
    ensure!(
        last < 2 * SOON + SOON / 4,
        "after {last:?} packets for vm2 still came to who has its device's index"
    );
    Ok(())
}
