//! Packets of every kind: IPv6, with tags, that stand for several segments, and in the driver.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::object::{CUSTOMER_TAG, PROVIDER_TAG, Packet};
use lab::wire::Wire;
use lab::{Natbpf, Node, SERVER, SERVER_V6, VM1, VM1_V6, VM2, wait_until};
use serde_json::Value;

use super::tracing::{PATIENCE, during, goes, passage};

const TAG: u16 = 10;

/// Longer than a look into the buffers.
const MOMENT: Duration = Duration::from_millis(100);

fn accelerate(node: &Node, arguments: &[&str]) -> Result<Natbpf> {
    node.natbpf_cli()?.start([&["accelerate", "tap0", "eth0"], arguments].concat())
}

/// Asks until both the question and its answer are repeated.
fn warm(natbpf: &Natbpf, ask: impl Fn() -> Result<()>) -> Result<()> {
    wait_until("packets are repeated in both directions", PATIENCE, || {
        let before = natbpf.counter("packets_repeated")?;
        ask()?;
        Ok(natbpf.counter("packets_repeated")? == before + 2)
    })
}

fn is_repeated(line: &Value) -> bool {
    line["verdict"] == "repeated"
}

#[test]
fn ipv6() -> Result<()> {
    let node = Node::new()?;
    let natbpf = accelerate(&node, &[])?;
    let server = Reflector::start(&node.out, (SERVER_V6, 9))?;
    let socket = node.vm1.udp((VM1_V6, 5000))?;
    let ask = || server.ask(&socket, "question").map(drop);
    warm(&natbpf, ask)?;
    let (inside, outside) = (VM1_V6.to_string(), SERVER_V6.to_string());
    let lines = during(natbpf.cli(), &["-s", &inside, "--dport", "9"], || {
        ask()?;
        sleep(MOMENT);
        Ok(())
    })?;
    let [before, after] = passage(&lines, ("tap0", "edge_ingress"), |line| goes(line, &inside, &outside))?;
    ensure!(is_repeated(&after) && before["packet"]["source_port"] == 5000, "{after:#}");
    let [_, after] = passage(&lines, ("eth0", "edge_ingress"), |line| line["packet"]["source"] == *outside)?;
    ensure!(is_repeated(&after) && goes(&after, &outside, &inside), "{after:#}");
    Ok(())
}

/// The tag stands beside the packet there, and is shown.
#[test]
fn with_a_tag() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "tap1", "eth0"])?;
    let lines = tagged(&node, &natbpf)?;
    let [before, after] = passage(&lines, ("tap0", "edge_ingress"), |line| line["vlan"] == TAG)?;
    ensure!(before["packet"]["source_port"] == 5000 && after["vlan"] == TAG, "{after:#}");
    ensure!(before["length"] == 14 + 4 + 20 + 8 + 4, "{before:#}");
    Ok(())
}

/// The filter looks behind both.
#[test]
fn with_two_tags() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "tap1", "eth0"])?;
    let wire = Wire::between(&node.vm1, "eth0", (&node.vm2, "eth0"))?;
    let tags = [(PROVIDER_TAG.0, TAG), (CUSTOMER_TAG.0, TAG + 1)];
    let packet = Packet::udp((VM1, 5000), (VM2, 9000)).payload(*b"data").tags(&tags);
    let lines = during(natbpf.cli(), &["-p", "udp", "--dport", "9000", "-s", &VM1.to_string()], || {
        wire.send(&packet)?;
        sleep(MOMENT);
        Ok(())
    })?;
    let ours = |line: &Value| goes(line, &VM1.to_string(), &VM2.to_string());
    let [before, after] = passage(&lines, ("tap0", "edge_ingress"), ours)?;
    ensure!(before["vlan"] == TAG && before["packet"] == after["packet"], "{before:#}");
    Ok(())
}

/// There the tag is in the frame, which is shown as it is.
#[test]
fn in_the_driver() -> Result<()> {
    let node = Node::new()?;
    // XDP of veth sees packets before their checksums are complete, and a redirect to it needs GRO at the far end.
    for end in [&node.vm1, &node.vm2, &node.out] {
        end.cmd("ethtool").args(["-K", "eth0", "tx", "off", "gro", "on"]).run()?;
    }
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "tap1", "eth0", "--hook", "xdp"])?;
    let lines = tagged(&node, &natbpf)?;
    let of_vm = |line: &Value| line["packet"]["source_port"] == 5000;
    let [before, after] = passage(&lines, ("tap0", "edge_xdp"), of_vm)?;
    ensure!(before["length"] == 14 + 4 + 20 + 8 + 4 && before["vlan"].is_null(), "{before:#}");
    ensure!(before["packet"] == after["packet"], "{after:#}");
    let went = lines.iter().any(|line| of_vm(line) && line["hook"] == "edge_xdp" && is_repeated(line));
    ensure!(went, "none is repeated: {lines:#?}");
    Ok(())
}

/// Tagged packets from one instance to the other.
fn tagged(node: &Node, natbpf: &Natbpf) -> Result<Vec<Value>> {
    let wire = Wire::between(&node.vm1, "eth0", (&node.vm2, "eth0"))?;
    let arriving = Wire::between(&node.vm2, "eth0", (&node.vm1, "eth0"))?;
    // The bridge knows both: what it floods leaves twice.
    arriving.send(&Packet::udp((VM2, 9000), (VM1, 5000)))?;
    wire.expect(|seen| seen.source() == (VM2, 9000))?;
    let packet = Packet::udp((VM1, 5000), (VM2, 9000)).payload(*b"data").tags(&[(CUSTOMER_TAG.0, TAG)]);
    let send = |id: u16| -> Result<()> {
        wire.send(&packet.clone().id(id))?;
        arriving.expect(|seen| seen.source() == (VM1, 5000) && seen.id() == id).map(drop)
    };
    (1..20).try_for_each(send)?;
    during(natbpf.cli(), &["-p", "udp", "--dport", "9000"], || {
        (20..40).try_for_each(send)?;
        sleep(MOMENT);
        Ok(())
    })
}

#[test]
fn several_segments_at_once() -> Result<()> {
    let node = Node::new()?;
    let natbpf = accelerate(&node, &[])?;
    let listener = node.out.tcp_listener((SERVER, 80))?;
    let mut client = node.vm1.enter(|| TcpStream::connect((SERVER, 80)))??;
    let (mut server, _) = listener.accept()?;
    let mut transfer = |bytes: usize| -> Result<()> {
        let sending = std::thread::scope(|scope| {
            let sent = scope.spawn(|| client.write_all(&vec![b'x'; bytes]));
            let read = server.read_exact(&mut vec![0; bytes]);
            read.and(sent.join().unwrap_or(Ok(())))
        });
        sending.context("a transfer")
    };
    transfer(1_000_000)?;
    let lines = during(natbpf.cli(), &["-p", "tcp", "-d", &SERVER.to_string()], || {
        transfer(1_000_000)?;
        sleep(MOMENT);
        Ok(())
    })?;
    let many = |line: &Value| line["gso_segments"].as_u64() > Some(1);
    let [before, after] = passage(&lines, ("tap0", "edge_ingress"), many)?;
    let [size, segments, length] =
        ["gso_size", "gso_segments", "length"].map(|key| before[key].as_u64().unwrap_or_default());
    // Each but the last one is full.
    ensure!((size * (segments - 1)..=size * segments + 100).contains(&length), "{before:#}");
    ensure!(after["gso_segments"] == before["gso_segments"], "{after:#}");
    let sum: u64 = lines
        .iter()
        .filter(|line| {
            line["device"] == "tap0" && line["stage"] == "before" && line["direction"] == "ingress"
        })
        .filter_map(|line| line["length"].as_u64())
        .sum();
    ensure!(sum > 1_000_000, "of a million bytes {sum} are shown");

    // Few, as there is room for 30 long ones.
    let lines = during(natbpf.cli(), &["-p", "tcp", "-e", "tap0", "--snaplen", "65000"], || {
        transfer(100_000)?;
        sleep(MOMENT);
        Ok(())
    })?;
    let captured = |line: &Value| line["captured"].as_u64().unwrap_or_default();
    let is_whole = |line: &Value| captured(line) == line["length"].as_u64().unwrap_or_default().min(65_000);
    ensure!(lines.iter().all(is_whole) && lines.iter().any(|line| captured(line) > 2_048), "{lines:#?}");
    Ok(())
}
