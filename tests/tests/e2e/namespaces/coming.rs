//! Namespaces that come and go while traffic flows.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Namespace, Natbpf, Node, SERVER, VM2, wait_until};

use super::{SOON, are_followed, by_edge, followed, is_repeated, no_complaint, start};
use crate::e2e::offload::pulse::Pulse;

/// What an interruption may last.
const INTERRUPTION: Duration = Duration::from_millis(500);

/// Another router beside the first, for vm2.
fn second(node: &Node) -> Result<Namespace> {
    let router = Namespace::new("second")?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.cmd("iptables").args(["-t", "nat", "-A", "POSTROUTING", "-o", "qg", "-j", "MASQUERADE"]).run()?;
    node.host.ip(
        "link add int-second type veth peer name qr netns second\nlink set int-second master br-int up\n\
         link add ex-second type veth peer name qg netns second\nlink set ex-second master br-ex up",
    )?;
    // Always the same: others remember them longer than the router is there.
    router.ip("link set qr address 02:00:00:00:00:22\nlink set qg address 02:00:00:00:00:33\n\
         addr add 10.0.0.2/24 dev qr\nlink set qr up\naddr add 203.0.113.3/24 dev qg\nlink set qg up")?;
    node.vm2.ip("route replace default via 10.0.0.2")?;
    Ok(router)
}

/// vm2's traffic goes through it, is repeated, and is stopped by a rule there within a second.
fn works(node: &Node, natbpf: &Natbpf, mut ip: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let server = Reflector::start(&node.out, (SERVER, 7))?;
    let socket = node.vm2.udp((VM2, 6000))?;
    server.ask_until(&socket, 5 * SOON, "203.0.113.3:6000".parse()?)?;
    let many = || {
        for question in 0..20 {
            server.ask(&socket, &format!("question {question}"))?;
        }
        Ok(by_edge(natbpf, "tap1")? > 50)
    };
    wait_until("what vm2 sends is repeated", 5 * SOON, many).with_context(|| natbpf.log())?;
    ip("rule add from 10.0.0.12 blackhole")?;
    let change = Instant::now();
    while server.try_ask(&socket, "still there")?.is_some() {
        ensure!(change.elapsed() < SOON, "it goes on after {:?}\n{}", change.elapsed(), natbpf.log());
    }
    ip("rule del from 10.0.0.12 blackhole")?;
    server.ask_until(&socket, 5 * SOON, "203.0.113.3:6000".parse()?)
}

/// Its devices are gone: nobody keeps the namespace.
fn is_gone(node: &Node) -> Result<()> {
    let gone = || {
        let links = node.host.cmd("ip").args(["-br", "link"]).output_text()?;
        Ok(!links.contains("second"))
    };
    wait_until("the namespace is gone", 5 * SOON, gone)
}

#[test]
fn a_namespace_comes_and_goes_again_and_again() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    let begin = Instant::now();
    for _ in 0..3 {
        let router = second(&node)?;
        are_followed(&natbpf, &["router", "second"])?;
        works(&node, &natbpf, |command| router.ip(command))?;
        drop(router);
        is_gone(&node)?;
        are_followed(&natbpf, &["router"])?;
    }
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    let silence = pulse.longest_silence(begin, SOON);
    ensure!(silence < INTERRUPTION, "the first router's traffic rested for {silence:?}\n{}", natbpf.log());
    no_complaint(&natbpf)
}

/// As a container's that no tool has given a name.
#[test]
fn a_namespace_without_a_name_is_found_by_its_process() -> Result<()> {
    let node = Node::new()?;
    let router = second(&node)?;
    let (commands, mut writer) = io::pipe()?;
    let process = router.cmd("sh").arg("-s").stdin(commands).spawn()?;
    drop(router);
    let natbpf = start(&node)?;
    let names = followed(&natbpf)?;
    let unnamed = names.iter().any(|name| name.starts_with("net:[") && name.contains("of process"));
    ensure!(names.len() == 2 && unnamed, "{names:?}\n{}", natbpf.log());
    works(&node, &natbpf, |command| Ok(writeln!(writer, "ip {command}")?))?;
    drop(writer);
    process.finish(SOON)?;
    is_gone(&node)?;
    are_followed(&natbpf, &["router"])
}
