//! What an operator can get wrong: one sentence each, with the way out.

use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::gateway::natbpf::binary;
use lab::netns::agent::{Agent, Place};
use lab::process::Stream;
use lab::{Namespace, Node, becomes_true, bpffs, isolate};
use nix::sys::signal::Signal;

use super::{NEVER, SOON, ask, is_repeated, start, start_between};
use crate::e2e::offload::pulse::Pulse;

#[path = "../../life/sentence.rs"]
mod sentence;

use sentence::sentence;

fn says(output: &Output, words: &[&str]) -> Result<()> {
    let said = sentence(output)?;
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    ensure!(missing.is_empty(), "it does not say {missing:?}: {said}");
    Ok(())
}

/// natbpf as another instance, which has a limit.
fn another(namespace: &Namespace, instance: &str, args: &[&str]) -> Result<Output> {
    let natbpf = namespace.cmd(binary()?).arg("--bpffs").arg(bpffs()).args(["--instance", instance]);
    natbpf.args(args).limit(Duration::from_secs(10)).output()
}

#[test]
fn edges_that_are_none() -> Result<()> {
    let node = Node::new()?;
    let cli = node.natbpf_cli()?;
    says(&cli.output(["accelerate", "tap7", "eth0"])?, &["tap7", "there are: ", "tap0", "eth0"])?;
    says(&cli.output(["accelerate", "lo"])?, &["lo", "no Ethernet device", "leave it out"])?;
    // A name that is a pattern may have nothing yet.
    let natbpf = start_between(&node, &["vnet*", "eth0"])?;
    ensure!(natbpf.ready_line().contains("eth0"), "{}", natbpf.ready_line());
    Ok(())
}

#[test]
fn no_edge_at_all() -> Result<()> {
    let _isolation = isolate()?;
    let empty = Namespace::new("empty")?;
    empty.ip("link add br0 type bridge\nlink add in1 type veth peer name in2")?;
    says(&another(&empty, "lab", &["accelerate"])?, &["no edge was found", "natbpf accelerate 'vnet*'"])
}

/// Found without being named: the ends of pairs into other namespaces, and not those of pairs within this one.
#[test]
fn edges_are_found() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &[])?;
    let ready = natbpf.ready_line();
    for edge in ["tap0", "tap1", "eth0"] {
        ensure!(ready.contains(edge), "no {edge} in: {ready}");
    }
    for device in ["qvo", "qvb", "br-"] {
        ensure!(!ready.contains(device), "{device} is an edge: {ready}");
    }
    let repeated = ask(&natbpf, (&node.vm1, lab::VM1.into()), (&node.out, lab::SERVER.into()), 100)?;
    ensure!(repeated > 180, "of 200 packets {repeated} were repeated\n{}{}", natbpf.status()?, natbpf.log());
    Ok(())
}

#[test]
fn an_edge_that_is_named_twice() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "tap0", "tap*", "eth0"])?;
    ensure!(natbpf.ready_line().matches("tap0").count() == 1, "{}", natbpf.ready_line());
    let _pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)
}

#[test]
fn an_edge_of_another_instance() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    // It says what it cannot have, and waits for it.
    let second = node.host.cmd(binary()?).arg("--bpffs").arg(bpffs()).args(["--instance", "second"]);
    let second = second.args(["accelerate", "tap0", "eth0"]).spawn()?;
    let ready = second.wait_for(Stream::Stdout, 20 * SOON, |line| line.starts_with("ready"))?;
    ensure!(ready.contains("repeating nothing as yet"), "{ready}");
    let log = second.stderr_text();
    for edge in ["tap0", "eth0"] {
        let is_said = |line: &str| line.contains(&format!("the traffic of {edge} is not offloaded"));
        let said: Vec<_> = log.lines().filter(|line| is_said(line)).collect();
        ensure!(said.len() == 1 && said[0].contains("--coexist"), "{log}");
    }
    pulse.goes_on(SOON)?;
    is_repeated(&natbpf)?;
    second.stop(Signal::SIGTERM, 10 * SOON)?;
    is_repeated(&natbpf)
}

#[test]
fn two_daemons() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &[])?;
    says(&natbpf.cli().output(["accelerate", "tap0", "eth0"])?, &["another natbpf", "--instance"])?;
    let _pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)
}

/// Somebody's program sees all packets: those of its device are the kernel's, and natbpf says so.
#[test]
fn an_edge_with_somebody_elses_program() -> Result<()> {
    let node = Node::new()?;
    let agent = Agent::attach(&node.host, "tap0", Place::TcxIngress)?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    let log = natbpf.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("tap0") && line.contains("agent")).collect();
    ensure!(said.len() == 1 && said[0].contains("remove it") && said[0].contains("--coexist"), "{log}");
    let questions = || ask(&natbpf, (&node.vm1, lab::VM1.into()), (&node.out, lab::SERVER.into()), 100);
    let before = agent.seen()?;
    ensure!(questions()? == 0, "packets of tap0 are repeated");
    ensure!(agent.seen()? >= before + 100, "the program did not see all");
    ensure!(natbpf.status()?.contains("others at"), "{}", natbpf.status()?);
    drop(agent);
    ensure!(becomes_true(5 * SOON, || Ok(questions()? > 180))?, "nothing is repeated after it has gone");
    Ok(())
}

/// An XDP program comes before natbpf's at TC, and sees all packets anyway.
#[test]
fn an_edge_with_somebody_elses_xdp() -> Result<()> {
    let node = Node::new()?;
    let agent = Agent::attach(&node.host, "tap0", Place::GenericXdp)?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let before = agent.seen()?;
    let repeated = ask(&natbpf, (&node.vm1, lab::VM1.into()), (&node.out, lab::SERVER.into()), 100)?;
    ensure!(repeated > 180, "of 200 packets {repeated} were repeated\n{}", natbpf.log());
    ensure!(agent.seen()? >= before + 100, "it saw {} of 100 packets", agent.seen()? - before);
    Ok(())
}
