//! What somebody changes in the router's namespace counts for running flows within a second, and no other namespace's
//! changes count at all.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Namespace, Natbpf, Node, SERVER_V6, VM1_V6};

use super::{MENDED, SOON, epoch, is_repeated, no_complaint, repeated, start};
use crate::e2e::offload::pulse::Pulse;

/// What stops all that vm1 sends, and what undoes it.
const CHANGES: [(&str, &str); 7] = [
    (
        "nft 'add table inet guard; add chain inet guard forward { type filter hook forward priority 0; }; \
         add rule inet guard forward ip saddr 10.0.0.11 drop'",
        "nft delete table inet guard",
    ),
    ("iptables -I FORWARD -s 10.0.0.11 -j DROP", "iptables -D FORWARD -s 10.0.0.11 -j DROP"),
    ("ip route add blackhole 203.0.113.10/32", "ip route del blackhole 203.0.113.10/32"),
    ("ip rule add from 10.0.0.11 blackhole", "ip rule del from 10.0.0.11 blackhole"),
    (
        "ip neigh replace 203.0.113.10 lladdr 02:00:00:00:99:99 dev qg nud permanent",
        "ip neigh del 203.0.113.10 dev qg",
    ),
    ("ip link set qg down", "ip link set qg up"),
    ("sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1"),
];

fn shell(namespace: &Namespace, command: &str) -> Result<()> {
    namespace.cmd("sh").args(["-c", command]).run()
}

#[test]
fn a_change_in_the_router_stops_a_running_flow_within_a_second() -> Result<()> {
    let node = Node::new()?;
    // With a queue there, packets go out of the device and come in at its other end as others do: what has another
    // machine's address is not taken.
    node.host.cmd("tc").args("qdisc add dev eth0 root pfifo limit 1000".split(' ')).run()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    for (forbid, permit) in CHANGES {
        is_repeated(&natbpf, ["tap0", "eth0"]).context(forbid)?;
        let change = Instant::now();
        shell(&node.router, forbid)?;
        let last = pulse.last_answer(change, 2 * SOON);
        ensure!(last < SOON, "{forbid}: answers still came after {last:?}\n{}", natbpf.log());
        shell(&node.router, permit)?;
        pulse.goes_on(MENDED).with_context(|| format!("{permit}\n{}", natbpf.log()))?;
    }
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    no_complaint(&natbpf)
}

/// A rule for new connections says nothing of those that run, until conntrack is made to forget them.
#[test]
fn a_connection_that_is_deleted_in_the_router_is_judged_anew_within_a_second() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    let rule = "iptables -I FORWARD -s 10.0.0.11 -m conntrack --ctstate NEW -j DROP";
    shell(&node.router, rule)?;
    thread::sleep(SOON);
    pulse.goes_on(SOON).context("it runs already")?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    let change = Instant::now();
    shell(&node.router, "conntrack -D -s 10.0.0.11")?;
    let last = pulse.last_answer(change, 2 * SOON);
    ensure!(last < SOON, "answers still came after {last:?}\n{}", natbpf.log());
    shell(&node.router, "iptables -F FORWARD")?;
    pulse.goes_on(MENDED)?;
    is_repeated(&natbpf, ["tap0", "eth0"])
}

#[test]
fn a_route_of_ipv6_in_the_router_counts_too() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let server = Reflector::start(&node.out, (SERVER_V6, 9))?;
    let socket = node.vm1.udp((VM1_V6, 5000))?;
    let before = repeated(&natbpf)?;
    for question in 0..200 {
        server.ask(&socket, &format!("question {question}"))?;
    }
    let many = repeated(&natbpf)? - before;
    ensure!(many > 300, "of 400 packets {many} were repeated\n{}", natbpf.log());
    node.router.ip(&format!("route add blackhole {SERVER_V6}/128"))?;
    thread::sleep(SOON);
    ensure!(server.try_ask(&socket, "is there a route")?.is_none(), "it still goes\n{}", natbpf.log());
    node.router.ip(&format!("route del blackhole {SERVER_V6}/128"))?;
    server.ask(&socket, "is there a route again").map(drop)
}

/// Whether nothing is repeated while the pulse goes on.
fn is_the_kernels(natbpf: &Natbpf, pulse: &Pulse) -> Result<()> {
    let before = repeated(natbpf)?;
    pulse.goes_on(SOON)?;
    thread::sleep(SOON / 2);
    let after = repeated(natbpf)?;
    ensure!(after == before, "{} packets were repeated\n{}", after - before, natbpf.log());
    Ok(())
}

/// A queueing discipline is to have every packet.
#[test]
fn a_queue_in_the_router_gets_every_packet() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    shell(&node.router, "tc qdisc add dev qg root tbf rate 1gbit burst 100k limit 100k")?;
    thread::sleep(3 * SOON);
    is_the_kernels(&natbpf, &pulse)?;
    let status = natbpf.status()?;
    ensure!(status.contains("tbf"), "{status}");
    shell(&node.router, "tc qdisc del dev qg root")?;
    is_repeated(&natbpf, ["tap0", "eth0"])
}

/// Interfaces and addresses there have the numbers of some of ours.
#[test]
fn changes_in_a_namespace_that_packets_end_in_count_for_nothing() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let _pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    // Neighbours of the start are known.
    thread::sleep(SOON);
    let before = epoch(&natbpf)?;
    for command in [
        "ip route add blackhole 198.51.100.0/24",
        "ip rule add from 198.51.100.1 blackhole",
        "ip neigh replace 10.0.0.99 lladdr 02:00:00:00:99:99 dev eth0 nud permanent",
        "ip neigh replace 10.0.0.99 lladdr 02:00:00:00:99:98 dev eth0 nud permanent",
        "nft add table inet own",
    ] {
        shell(&node.vm2, command)?;
    }
    thread::sleep(Duration::from_millis(500));
    let after = epoch(&natbpf)?;
    ensure!(after == before, "the epoch went from {before} to {after}\n{}", natbpf.log());
    // In the router the same counts.
    shell(&node.router, "ip route add blackhole 198.51.100.0/24")?;
    thread::sleep(Duration::from_millis(500));
    ensure!(epoch(&natbpf)? > before, "{}", natbpf.log());
    Ok(())
}
