//! Programs and filters of others that come while flows are offloaded: they see the packets, and what they
//! limit is limited.

use lab::SERVER;
use lab::ends::tools::iperf3_before_and_after;

use super::*;

/// An agent that comes later sees nearly all packets from a second on.
fn an_agent_sees(device: &str, place: Place) -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, NEVER)?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let agent = Agent::attach(&lab.gw, device, place)?;
    thread::sleep(A_SECOND);
    // The agent is asked before and after natbpf, which takes its time on a busy machine: it has seen at least as many.
    let before = agent.seen()?;
    let start = natbpf.counter("ingress_packets")?;
    thread::sleep(Duration::from_secs(1));
    let all = natbpf.counter("ingress_packets")? - start;
    let seen = agent.seen()? - before;
    ensure!(all > 100 && seen * 10 > all * 9, "it sees {seen} of {all} packets\n{}", natbpf.log());
    pulse.goes_on(Duration::from_secs(1))?;
    drop(agent);
    is_offloaded(&natbpf)
}

#[test]
fn an_agent_at_a_port() -> Result<()> {
    an_agent_sees("port1", Place::TcxIngress)
}

#[test]
fn an_agent_at_a_ports_egress() -> Result<()> {
    an_agent_sees("port1", Place::TcxEgress)
}

#[test]
fn an_agent_at_an_uplink() -> Result<()> {
    an_agent_sees("wan", Place::TcxIngress)
}

#[test]
fn an_agent_at_an_uplinks_egress() -> Result<()> {
    an_agent_sees("wan", Place::TcxEgress)
}

#[test]
fn an_agent_at_a_bridge() -> Result<()> {
    an_agent_sees("br0", Place::TcxIngress)
}

#[test]
fn an_agent_at_a_bridges_xdp() -> Result<()> {
    an_agent_sees("br0", Place::GenericXdp)
}

#[test]
fn an_agent_at_a_bridges_egress() -> Result<()> {
    an_agent_sees("br0", Place::TcxEgress)
}

/// What goes to the server, or comes from it, is redirected to where 2 Mbit/s are the limit.
fn a_shaper_limits(device: &str, hook: &str, direction: &str) -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, NEVER)?;
    lab.gw.ip("link add ifb0 type ifb\nlink set ifb0 up")?;
    shell(&lab.gw, "tc qdisc add dev ifb0 root tbf rate 2mbit burst 10kb latency 50ms")?;
    let shape = || {
        shell(&lab.gw, &format!("tc qdisc add dev {device} clsact"))?;
        shell(
            &lab.gw,
            &format!(
                "tc filter add dev {device} {hook} protocol ip u32 match u32 0 0 \
                 action mirred egress redirect dev ifb0"
            ),
        )
    };
    let [before, after] = iperf3_before_and_after(&lab.vm1, (&lab.out, SERVER), direction, shape)?;
    ensure!(before.bits_per_second > 1e8, "{before:?}");
    ensure!(after.bits_per_second < 2e7, "the limit is gone past: {after:?}\n{}", natbpf.log());
    Ok(())
}

#[test]
fn a_shaper_at_an_uplink() -> Result<()> {
    a_shaper_limits("wan", "ingress", "-R")
}

#[test]
fn a_shaper_at_a_bridge() -> Result<()> {
    a_shaper_limits("br0", "egress", "-R")
}

#[test]
fn a_shaper_at_a_port() -> Result<()> {
    a_shaper_limits("port1", "ingress", "")
}

/// With its interface a filter goes, too.
#[test]
fn an_uplink_takes_its_shaper_with_it() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip("link add wan2 type veth peer name w2\nlink set wan2 up")?;
    let arguments = ["masquerade", "-o", "wan*", "-s", INSIDE, "--offload", "on", "--revalidate", NEVER];
    let natbpf = lab.natbpf_cli()?.start(arguments)?;
    let _pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let agent = Agent::attach(&lab.gw, "wan2", Place::TcxIngress)?;
    thread::sleep(A_SECOND);
    ensure!(natbpf.log().contains("offload is off"), "{}", natbpf.log());
    lab.gw.ip("link del wan2")?;
    is_offloaded(&natbpf)?;
    drop(agent);
    Ok(())
}

/// Filters that came while no daemon ran are there when the next one is ready, also where no hook has a
/// revision (before Linux 6.6).
#[test]
fn a_start_finds_what_came_before_it() -> Result<()> {
    let lab = Lab::new()?;
    let cli = start(&lab, NEVER)?.kill()?;
    shell(
        &lab.gw,
        "tc qdisc add dev port1 clsact && tc filter add dev port1 ingress prio 10 bpf bytecode '1,6 0 0 0,'",
    )?;
    let natbpf = cli.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    let status = natbpf.status_json()?;
    let names = |of: &str| -> Vec<&str> {
        status[of].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
    };
    ensure!(names("ports") == ["port2"] && names("others") == ["port1"], "{status}");
    // What is at an uplink ends offload before it begins.
    drop(natbpf.kill()?);
    shell(
        &lab.gw,
        "tc qdisc add dev wan clsact && tc filter add dev wan ingress prio 10 bpf bytecode '1,6 0 0 0,'",
    )?;
    let natbpf = cli.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    ensure!(natbpf.ready_line().contains("offload off"), "{}", natbpf.ready_line());
    Ok(())
}

/// Replies go to the other end of a veth pair only as long as nothing waits at this one.
#[test]
fn a_queue_at_a_port_comes_and_goes() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, NEVER)?;
    let pulse = Pulse::start(&lab)?;
    let to_the_peer = || -> Result<bool> {
        let status = natbpf.status_json()?;
        let ports = status["ports"].as_array().context("no ports")?;
        Ok(ports.iter().any(|port| port["name"] == "port1" && port["peer"] == true))
    };
    ensure!(to_the_peer()?, "replies do not go to the other end");
    shell(&lab.gw, "tc qdisc add dev port1 root pfifo limit 1000")?;
    thread::sleep(AT_ONCE);
    ensure!(!to_the_peer()?, "replies go past the queue");
    let sent = || -> Result<u64> {
        let text = lab.gw.cmd("tc").args("-j -s qdisc show dev port1".split(' ')).output_text()?;
        let queues: serde_json::Value = serde_json::from_str(&text)?;
        let queues = queues.as_array().context("no queues")?;
        let queue = queues.iter().find(|queue| queue["kind"] == "pfifo").context("it is not there")?;
        queue["packets"].as_u64().context("no count")
    };
    is_offloaded(&natbpf)?;
    let before = sent()?;
    thread::sleep(Duration::from_millis(500));
    ensure!(sent()? > before + 50, "offloaded replies do not wait in the queue");
    shell(&lab.gw, "tc qdisc del dev port1 root")?;
    thread::sleep(AT_ONCE);
    ensure!(to_the_peer()?, "replies do not go to the other end again");
    pulse.goes_on(Duration::from_secs(1))?;
    is_offloaded(&natbpf)
}

/// With two ports at a bridge there is one warning, and with the last filter all is as before.
#[test]
fn one_warning_for_all_ports_of_a_bridge() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, NEVER)?;
    let _pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let agents = [Place::TcxIngress, Place::TcxEgress].map(|place| Agent::attach(&lab.gw, "br0", place));
    let [first, second] = agents;
    let (first, second) = (first?, second?);
    thread::sleep(A_SECOND);
    let log = natbpf.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    ensure!(warnings.len() == 1 && warnings[0].contains("port1, port2"), "{log}");
    ensure!(natbpf.status()?.contains("others at"), "status does not show them");
    drop(first);
    thread::sleep(A_SECOND);
    let before = offloaded(natbpf.cli())?;
    thread::sleep(Duration::from_millis(300));
    ensure!(offloaded(natbpf.cli())? == before, "one is left, and packets go past it");
    drop(second);
    is_offloaded(&natbpf)
}

/// What conntrack forgets by itself is heard by nobody.
#[test]
fn connections_that_expire_end_no_way() -> Result<()> {
    let lab = Lab::new()?;
    shell(&lab.gw, "iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")?;
    let timeouts = |seconds| {
        ["udp_timeout", "udp_timeout_stream"]
            .iter()
            .try_for_each(|timeout| lab.gw.sysctl(&format!("net.netfilter.nf_conntrack_{timeout}"), seconds))
    };
    timeouts("1")?;
    let natbpf = start(&lab, NEVER)?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let socket = lab.vm2.udp((lab::VM2, 0))?;
    for port in 1000..1200 {
        socket.send_to(b"once", (SERVER, port))?;
    }
    let epoch = || -> Result<u64> { natbpf.status_json()?["offload"]["epoch"].as_u64().context("no epoch") };
    thread::sleep(Duration::from_millis(300));
    let before = epoch()?;
    // The collector has rounds of some seconds; this looks at all entries, and removes those that are over.
    thread::sleep(A_SECOND);
    lab.gw.cmd("conntrack").args(["-L"]).output()?;
    thread::sleep(Duration::from_millis(200));
    ensure!(epoch()? == before, "the epoch went from {before} to {}\n{}", epoch()?, natbpf.log());
    pulse.goes_on(Duration::from_secs(1))?;
    // Many deletions at a time are one change, or a few. What is deleted must not be over before.
    timeouts("60")?;
    for round in 0..10 {
        // To ports of their own: what has been sent to the others before may be repeated, past conntrack.
        for port in 0..20 {
            socket.send_to(b"once", (SERVER, 2000 + 20 * round + port))?;
        }
        lab.gw.cmd("conntrack").args(["-F"]).run()?;
    }
    thread::sleep(Duration::from_secs(1));
    let counted = epoch()? - before;
    ensure!((2..=20).contains(&counted), "the epoch was counted up by {counted}");
    Ok(())
}
