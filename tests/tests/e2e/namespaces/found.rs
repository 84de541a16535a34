//! Which devices are edges, and which namespaces are in the middle.

use anyhow::{Result, ensure};
use lab::{Node, wait_until};

use super::{SOON, are_followed, followed, is_repeated, no_complaint, start};
use crate::e2e::offload::pulse::Pulse;

#[test]
fn a_router_is_in_the_middle_and_its_devices_are_no_edges() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let (log, ready) = (natbpf.log(), natbpf.ready_line());
    for sentence in [
        "tap0 is an edge: it leads into the network namespace vm1, where packets end",
        "eth0 is an edge: it leads into the network namespace out, where packets end",
        "int-qr is no edge: it leads into the network namespace router, which packets pass and leave by another device",
        "ex-qg is no edge: it leads into the network namespace router, which packets pass and leave by another device",
    ] {
        ensure!(log.contains(sentence), "no {sentence:?} in\n{log}");
    }
    ensure!(ready.contains("through the network namespace router"), "{ready}");
    let status = natbpf.status_json()?;
    let ports = status["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<&str> = ports.iter().filter_map(|port| port["name"].as_str()).collect();
    names.sort_unstable();
    ensure!(names == ["eth0", "tap0", "tap1"], "{names:?}");
    are_followed(&natbpf, &["router"])?;
    let text = natbpf.status()?;
    let row = text.lines().find(|line| line.contains("follows what changes there"));
    ensure!(row.is_some_and(|row| row.contains("router")), "{text}");
    let _pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    no_complaint(&natbpf)
}

/// What does not forward is an end, whatever hangs on it by two devices.
#[test]
fn a_machine_with_two_devices_that_forwards_nothing_is_an_end() -> Result<()> {
    let node = Node::new()?;
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        node.vm2.sysctl(name, "0")?;
    }
    node.host.ip("link add tap2 type veth peer name eth1 netns vm2\nlink set tap2 master qbr up")?;
    let natbpf = start(&node)?;
    ensure!(natbpf.log().contains("tap2 is an edge"), "{}", natbpf.log());
    ensure!(followed(&natbpf)? == ["router"]);
    // Now it does.
    node.vm2.sysctl("net.ipv4.ip_forward", "1")?;
    are_followed(&natbpf, &["router", "vm2"])?;
    wait_until("tap2 is no edge", SOON, || Ok(natbpf.log().contains("tap2 is no edge")))?;
    node.vm2.sysctl("net.ipv4.ip_forward", "0")?;
    are_followed(&natbpf, &["router"])
}
