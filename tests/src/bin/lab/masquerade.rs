//! natbpf's own NAT: what the outside saw of real traffic.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, iperf3, ping, upload};
use lab::process::interrupt;
use lab::{
    Capture, GATEWAY, INSIDE, Kind, Lab, Rule, SERVER, Translation, VM1, VM2, bpffs, ends::dns,
    netns::counters,
};

use crate::steps::{REMOVED, Steps, enter, gigabits, say_how_to_look, wait_for_enter};

const PICTURE: &str = "
   instances                     gateway                          outside
  ┌───────────────┐   ┌────────────────────────────────┐   ┌──────────────────┐
  │ vm1 10.0.0.11 ├───┤ br0              wan           │   │ out              │
  │ vm2 10.0.0.12 ├───┤ 10.0.0.1  ─NAT─  203.0.113.1   ├───┤ 203.0.113.10     │
  └───────────────┘   └────────────────────────────────┘   └──────────────────┘
  The outside has no route to 10.0.0.0/24: a packet that leaves untranslated is never answered.
";
const FLOWS_SHOWN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Nat {
    Natbpf,
    Iptables,
}

/// What of it can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub keep: bool,
    pub nat: Nat,
}

pub fn run(choice: Choice) -> Result<()> {
    let lab = Lab::new()?;
    let outcome = run_in(&lab, choice);
    drop(lab);
    println!("\n{REMOVED}");
    outcome
}

fn run_in(lab: &Lab, choice: Choice) -> Result<()> {
    println!("Instances, a gateway and an outside world in network namespaces of this machine:\n{PICTURE}");
    let rule = Rule::new("wan").source(INSIDE);
    let kind = match choice.nat {
        Nat::Natbpf => {
            println!("gw# natbpf masquerade {}", rule.natbpf_args().join(" "));
            Kind::Natbpf
        }
        Nat::Iptables => {
            rule.iptables_args(0).iter().for_each(|args| println!("gw# iptables {args}"));
            Kind::Iptables
        }
    };
    let nat = lab.translate(kind, &[rule])?;
    if let Translation::Natbpf(natbpf) = &nat {
        println!("{}", natbpf.ready_line());
    }

    let mut steps = Steps::default();
    let worked = traffic(lab, &mut steps).and_then(|()| show(&nat));
    if worked.is_ok() && choice.keep {
        keep(nat.kind())?;
    }
    // Also after a failure: an orderly stop is part of what is shown.
    let stopped = stop(lab, nat, &mut steps);
    worked?;
    stopped?;
    steps.all_worked()
}

fn traffic(lab: &Lab, steps: &mut Steps) -> Result<()> {
    let http = Server::start(&lab.out, (SERVER, 80))?;
    let udp = Reflector::start(&lab.out, (SERVER, 9000))?;
    // The beginning of each conversation is enough to see who talks.
    let beginnings = "icmp or udp port 9000 or udp port 53 or tcp[tcpflags] & tcp-syn != 0";
    let outside = Capture::with(&lab.out, "eth0", beginnings, &["-Q", "in"])?;
    let leaks = Capture::with(&lab.out, "eth0", "src net 10.0.0.0/8", &["-Q", "in"])?;

    println!();
    for (name, vm) in [("ping vm1 -> out", &lab.vm1), ("ping vm2 -> out", &lab.vm2)] {
        steps.step(name, || {
            let ping = ping(vm, SERVER, "-c 10")?;
            ensure!(ping.received == ping.sent, "{} of {} came back", ping.received, ping.sent);
            Ok(format!(
                "{} of {} came back, {:.3} ms",
                ping.received,
                ping.sent,
                ping.rtt.unwrap_or_default()
            ))
        })?;
    }
    steps.step("curl, 100 MB out -> vm1", || {
        let moved = download(&lab.vm1, &http.url("/bytes/100000000")?, &[])?;
        ensure!(moved.bytes == 100_000_000, "only {} bytes came", moved.bytes);
        Ok(format!("{}, every byte compared", gigabits(moved.bits_per_second())))
    })?;
    steps.step("curl, 50 MB vm2 -> out", || {
        let moved = upload(&lab.vm2, &http.url("/")?, 50_000_000)?;
        Ok(format!("{}, every byte compared", gigabits(moved.bits_per_second())))
    })?;
    for (name, options) in [("iperf3, TCP vm1 -> out", "-t 2"), ("iperf3, TCP out -> vm1", "-t 2 -R")] {
        steps.step(name, || {
            let stream = iperf3(&lab.vm1, (&lab.out, SERVER), options)?;
            Ok(gigabits(stream.bits_per_second))
        })?;
    }
    steps.step("iperf3, UDP vm2 -> out", || {
        let stream = iperf3(&lab.vm2, (&lab.out, SERVER), "-u -b 50M -l 1200 -t 1")?;
        ensure!(stream.lost == 0, "{} of {} packets lost", stream.lost, stream.packets);
        Ok(format!("{} packets, none lost", stream.packets))
    })?;
    steps.step("DNS, vm2 asks out", || {
        let _server = dns::serve(&lab.out, SERVER, "lab.test", Ipv4Addr::new(198, 51, 100, 7))?;
        let answer = dns::query(&lab.vm2.udp((VM2, 0))?, SERVER, "lab.test")?;
        Ok(format!("lab.test is {answer}"))
    })?;
    steps.step("UDP, both from port 5000", || {
        let one = udp.ask(&lab.vm1.udp((VM1, 5000))?, "vm1")?;
        let two = udp.ask(&lab.vm2.udp((VM2, 5000))?, "vm2")?;
        ensure!(one != two, "both show up as {one}");
        Ok(format!("show up as {one} and {two}"))
    })?;
    steps.step("checksum errors at every end", || {
        let ends = [&lab.vm1, &lab.vm2, &lab.gw, &lab.out];
        let errors: u64 = ends.into_iter().map(counters::csum_errors).sum::<Result<u64>>()?;
        ensure!(errors == 0, "{errors}");
        Ok("0".to_owned())
    })?;
    steps.step("packets that left untranslated", || {
        let leaks = leaks.stop()?;
        ensure!(leaks.is_empty(), "{}, the first: {}", leaks.len(), leaks[0]);
        Ok("0".to_owned())
    })?;
    steps.step("addresses that the outside saw", || {
        let seen = sources(&outside.stop()?);
        let text = seen.iter().map(|(source, count)| format!("{source} ({count} beginnings)"));
        let text = text.collect::<Vec<_>>().join(", ");
        ensure!(seen.keys().eq([&GATEWAY.to_string()]), "{text}");
        ensure!(http.peers().iter().all(|peer| peer.ip() == GATEWAY), "{:?}", http.peers());
        Ok(text)
    })
}

/// Source address and number of packets, of lines such as `IP 203.0.113.1.5000 > 203.0.113.10.9000: UDP,
/// length 3`.
fn sources(lines: &[String]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for source in lines.iter().filter_map(|line| line.strip_prefix("IP ")?.split(' ').next()) {
        let address: Vec<_> = source.split('.').take(4).collect();
        *seen.entry(address.join(".")).or_default() += 1;
    }
    seen
}

fn show(nat: &Translation<'_>) -> Result<()> {
    interrupt::check()?;
    let table = nat.flows_text()?;
    println!("\nflow table");
    table.lines().take(FLOWS_SHOWN).for_each(|line| println!("  {line}"));
    if let Some(more) = table.lines().count().checked_sub(FLOWS_SHOWN).filter(|more| *more > 0) {
        println!("  and {more} more");
    }
    if let Translation::Natbpf(natbpf) = nat {
        println!("\nstatus");
        natbpf.status()?.lines().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Stops natbpf and shows that it is gone: as before it came, nothing is translated.
fn stop(lab: &Lab, nat: Translation<'_>, steps: &mut Steps) -> Result<()> {
    let Translation::Natbpf(natbpf) = nat else { return Ok(()) };
    steps.stop(natbpf)?;
    steps.step("ping vm1 -> out, untranslated", || {
        let ping = ping(&lab.vm1, SERVER, "-c 2")?;
        ensure!(ping.received == 0, "still answered");
        Ok("is not answered any more".to_owned())
    })
}

fn keep(kind: Kind) -> Result<()> {
    say_how_to_look(&["vm1", "vm2", "gw", "out"]);
    if kind == Kind::Natbpf {
        let natbpf = lab::gateway::natbpf::binary()?;
        println!(
            "  {} {} --instance lab --bpffs {} flows watch",
            enter(),
            natbpf.display(),
            bpffs().display()
        );
    }
    wait_for_enter()
}
