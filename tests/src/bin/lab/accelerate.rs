//! `natbpf accelerate` on a node of a cloud, beside the kernel alone.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use clap::{Args, value_parser};
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, ping, upload};
use lab::process::interrupt;
use lab::traffic::{Direction, Options, Run, Sink, Traffic};
use lab::{
    GATEWAY, Natbpf, Node, SERVER, SERVER_V6, VM1, VM1_V6, bpffs, gateway::natbpf::binary, netns::counters,
    trace,
};

use crate::steps::{REMOVED, Steps, enter, gigabits, say_how_to_look, wait_for_enter};

const PICTURE: &str = "
   instances              host                                                         outside
  ┌───────────────┐   ┌───────────────────────────────────────────────────────┐   ┌─────────────────────┐
  │ vm1 10.0.0.11 ├───┤ tap0                                                  │   │ out                 │
  │   fd00::a00:b │   │   qbr ── qvb ── qvo ── br-int       br-ex ────── eth0 ├───┤ 203.0.113.10        │
  │ vm2 10.0.0.12 ├───┤ tap1                      │           │               │   │ 2001:db8::cb00:710a │
  └───────────────┘   └───────────────────────────┼───────────┼───────────────┘   └─────────────────────┘
                                                 qr  router  qg
                           iptables and ip6tables -t nat -A POSTROUTING -o qg -j MASQUERADE
";
/// What natbpf is told.
const ARGUMENTS: [&str; 3] = ["accelerate", "tap0", "eth0"];
const PATHS_SHOWN: usize = 12;
const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Original, "instance -> outside"), (Direction::Reply, "outside -> instance")];

/// How the rate of packets is measured.
#[derive(Args, Clone, Copy, Debug)]
pub struct Rates {
    /// Packets that are sent each way in each round, with natbpf and without
    #[arg(long, value_name = "COUNT", default_value_t = 200_000, value_parser = value_parser!(u32).range(1000..))]
    packets: u32,
    /// Rounds; the median counts
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
}

pub fn run(keep: bool, rates: Rates) -> Result<()> {
    let node = Node::new()?;
    let outcome = run_in(&node, keep, rates);
    drop(node);
    println!("\n{REMOVED}");
    outcome
}

fn run_in(node: &Node, keep: bool, rates: Rates) -> Result<()> {
    println!("A node of a cloud in network namespaces of this machine:\n{PICTURE}");
    println!("The way of a packet from vm1 to the outside:\n  {}\n", trace(node)?);
    let natbpf = start(node)?;
    println!("host# natbpf {}\n{}\n", ARGUMENTS.join(" "), natbpf.ready_line());
    let mut steps = Steps::default();
    let worked = traffic(node, &natbpf, &mut steps).and_then(|()| show(&natbpf));
    if worked.is_ok() && keep {
        say_how_to_look(&["vm1", "vm2", "host", "router", "out"]);
        let (natbpf, bpffs) = (binary()?, bpffs());
        println!(
            "  {} nsenter --net=/run/netns/host {} --instance lab --bpffs {} paths watch",
            enter(),
            natbpf.display(),
            bpffs.display()
        );
        wait_for_enter()?;
    }
    let stopped = stop(node, natbpf, &mut steps);
    worked?;
    stopped?;
    steps.all_worked()?;
    compare(node, rates)
}

fn start(node: &Node) -> Result<Natbpf> {
    node.natbpf_cli()?.start(ARGUMENTS)
}

fn traffic(node: &Node, natbpf: &Natbpf, steps: &mut Steps) -> Result<()> {
    for (name, server) in
        [("ping vm1 -> out", SERVER.to_string()), ("ping vm1 -> out, IPv6", SERVER_V6.to_string())]
    {
        steps.step(name, || {
            let ping = ping(&node.vm1, &server, "-c 20")?;
            ensure!(ping.received == ping.sent, "{} of {} came back", ping.received, ping.sent);
            Ok(format!(
                "{} of {} came back, {:.3} ms",
                ping.received,
                ping.sent,
                ping.rtt.unwrap_or_default()
            ))
        })?;
    }
    let before = (natbpf.counter("packets_repeated")?, sent(node)?);
    let servers: [(SocketAddr, &str); 2] = [((SERVER, 80).into(), ""), ((SERVER_V6, 80).into(), ", IPv6")];
    for (address, family) in servers {
        let http = Server::start(&node.out, address)?;
        steps.step(&format!("curl, 100 MB out -> vm1{family}"), || {
            let moved = download(&node.vm1, &http.url("/bytes/100000000")?, &[])?;
            ensure!(moved.bytes == 100_000_000, "only {} bytes came", moved.bytes);
            Ok(format!("{}, every byte compared", gigabits(moved.bits_per_second())))
        })?;
        steps.step(&format!("curl, 50 MB vm1 -> out{family}"), || {
            let moved = upload(&node.vm1, &http.url("/")?, 50_000_000)?;
            Ok(format!("{}, every byte compared", gigabits(moved.bits_per_second())))
        })?;
    }
    let udp: [(&str, SocketAddr, SocketAddr); 2] = [
        ("UDP", (SERVER, 9000).into(), (VM1, 5000).into()),
        ("UDP, IPv6", (SERVER_V6, 9000).into(), (VM1_V6, 5000).into()),
    ];
    for (name, server, client) in udp {
        steps.step(name, || {
            let server = Reflector::start(&node.out, server)?;
            let socket = node.vm1.udp(client)?;
            let mut seen = client;
            for question in 0..100 {
                seen = server.ask(&socket, &format!("question {question}"))?;
            }
            ensure!(seen.ip() != client.ip(), "the outside saw {seen}, which is inside");
            Ok(format!("100 questions answered, {client} shows up as {seen}"))
        })?;
    }
    steps.step("packets that natbpf repeated", || {
        let (repeated, all) = (natbpf.counter("packets_repeated")? - before.0, sent(node)? - before.1);
        ensure!(repeated > 0, "none of {all}: the host's kernel did all the work\n{}", natbpf.log());
        Ok(format!("{repeated} of {all} that came to tap0 and eth0 since the pings"))
    })?;
    steps.step("checksum errors at every end", || {
        let errors: u64 = node.namespaces().into_iter().map(counters::csum_errors).sum::<Result<u64>>()?;
        ensure!(errors == 0, "{errors}");
        Ok("0".to_owned())
    })
}

/// Packets that both ends have sent.
fn sent(node: &Node) -> Result<u64> {
    Ok(counters::sent(&node.vm1, "eth0")? + counters::sent(&node.out, "eth0")?)
}

/// What natbpf repeats at this moment.
fn show(natbpf: &Natbpf) -> Result<()> {
    interrupt::check()?;
    let paths = natbpf.cli().cmd().args(["paths", "list"]).output_text()?;
    ensure!(!paths.is_empty(), "natbpf knows no path: nothing is repeated\n{}", natbpf.log());
    println!("\npaths, as `natbpf paths list` has them");
    paths.lines().take(PATHS_SHOWN).for_each(|line| println!("  {line}"));
    if let Some(more) = paths.lines().count().checked_sub(PATHS_SHOWN).filter(|more| *more > 0) {
        println!("  and {more} more");
    }
    Ok(())
}

/// Stops natbpf, and shows that the kernel goes on alone.
fn stop(node: &Node, natbpf: Natbpf, steps: &mut Steps) -> Result<()> {
    steps.stop(natbpf)?;
    steps.step("ping vm1 -> out, by the kernel", || {
        let ping = ping(&node.vm1, SERVER, "-c 5")?;
        ensure!(ping.received == ping.sent, "{} of {} came back", ping.received, ping.sent);
        Ok(format!("{} of {} came back", ping.received, ping.sent))
    })
}

/// Nanoseconds a packet, of each round: the kernel alone, and natbpf.
type Costs = [Vec<f64>; 2];

/// Measures both in turns, and prints what came out.
fn compare(node: &Node, rates: Rates) -> Result<()> {
    let Rates { packets, rounds } = rates;
    println!("\nPackets of 60 bytes, one flow, one processor; median of {rounds} rounds of {packets}:");
    let mut traffic = Traffic::with(node, Options { sink: Sink::Instance, ..Options::of(GATEWAY) })?;
    let mut costs: [Costs; 2] = Default::default();
    for round in 0..rounds {
        // Each begins in turn.
        let turns = if round % 2 == 0 { [false, true] } else { [true, false] };
        for with_natbpf in turns {
            let natbpf = with_natbpf.then(|| start(node)).transpose()?;
            for ((direction, name), costs) in DIRECTIONS.into_iter().zip(&mut costs) {
                interrupt::check()?;
                let run = measure(node, &mut traffic, direction, packets, natbpf.as_ref())?;
                ensure!(
                    run.translated == run.sent,
                    "{name}: {} of {} packets arrived as they should",
                    run.translated,
                    run.sent
                );
                costs[usize::from(with_natbpf)].push(run.cost());
            }
            if let Some(natbpf) = natbpf {
                natbpf.stop()?;
            }
        }
    }
    println!("  {:<22} {:>20} {:>20}", "", "kernel alone", "with natbpf");
    for ((_, name), [kernel, natbpf]) in DIRECTIONS.into_iter().zip(costs) {
        let (kernel, natbpf) = (median(kernel), median(natbpf));
        println!("  {name:<22} {:>20} {:>20}   {:.1} times", rate(kernel), rate(natbpf), kernel / natbpf);
    }
    Ok(())
}

/// A run after packets that warm up caches, and from which natbpf learns the path.
fn measure(
    node: &Node,
    traffic: &mut Traffic,
    direction: Direction,
    packets: u32,
    natbpf: Option<&Natbpf>,
) -> Result<Run> {
    let repeated = || natbpf.map_or(Ok(0), |natbpf| natbpf.counter("packets_repeated"));
    warm_up(node, traffic, direction, packets / 20)?;
    let before = repeated()?;
    let run = traffic.run(node, direction, packets, 1, 0)?;
    let repeated = repeated()? - before;
    if let Some(natbpf) = natbpf.filter(|_| repeated * 10 < run.sent * 9) {
        bail!("natbpf repeated only {repeated} of {packets} packets\n{}", natbpf.log());
    }
    Ok(run)
}

/// Replies belong to a flow that was begun.
fn warm_up(node: &Node, traffic: &mut Traffic, direction: Direction, packets: u32) -> Result<()> {
    traffic.run(node, Direction::Original, packets, 1, 0)?;
    traffic.run(node, direction, packets, 1, 0).map(drop)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) }
}

/// `386 ns, 2.59 M/s`
fn rate(cost: f64) -> String {
    format!("{cost:.0} ns, {:.2} M/s", 1e3 / cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_any_number_of_rounds() {
        assert_eq!(rate(median(vec![1000.0, 200.0, 500.0])), "500 ns, 2.00 M/s");
        assert_eq!(rate(median(vec![600.0, 200.0])), "400 ns, 2.50 M/s");
    }
}
