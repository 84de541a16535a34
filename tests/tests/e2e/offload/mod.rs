//! Offload: running flows are sent straight to where they leave, and the network remains the kernel's.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::ends::http::Server;
use lab::ends::tools::{download, iperf3, ping, upload};
use lab::gateway::natbpf::Cli;
use lab::object::Packet;
use lab::wire::Wire;
use lab::{INSIDE, Lab, Namespace, Natbpf, Options, SERVER, VM1, netns::counters};

pub mod pulse;

use pulse::Pulse;

/// Ways are asked for again after this where a test says `--revalidate 2s`.
const REVALIDATE: Duration = Duration::from_secs(2);

/// What an interruption may last while the daemon follows.
const SOON: Duration = Duration::from_secs(1);

/// natbpf with offload and `arguments`.
pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Natbpf> {
    let offload = if arguments.contains(&"--offload") { &[][..] } else { &["--offload", "on"] };
    let standard = ["masquerade", "-o", "wan", "-s", INSIDE];
    lab.natbpf_cli()?.start(standard.iter().chain(offload).chain(arguments))
}

fn routed() -> Options {
    Options { bridge: false, ..Options::default() }
}

/// Packets repeated, out and in.
fn offloaded(cli: &Cli) -> Result<[u64; 2]> {
    Ok([cli.counter("egress_offloaded")?, cli.counter("ingress_offloaded")?])
}

/// Waits until packets of the pulse are repeated in both directions.
pub fn is_offloaded(natbpf: &Natbpf) -> Result<()> {
    let before = offloaded(natbpf.cli())?;
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let now = offloaded(natbpf.cli())?;
        if now[0] > before[0] + 10 && now[1] > before[1] + 10 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "nothing is offloaded: {before:?}, then {now:?}\n{}", natbpf.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// The MAC address of a device.
fn address(ns: &Namespace, device: &str) -> Result<String> {
    let text = ns.cmd("ip").args(["-j", "link", "show", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    Ok(links[0]["address"].as_str().context("the device has no address")?.to_owned())
}

fn bytes(address: &str) -> [u8; 6] {
    let mut bytes = address.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap_or_default());
    std::array::from_fn(|_| bytes.next().unwrap_or_default())
}

fn no_checksum_errors(lab: &Lab) -> Result<()> {
    for ns in [&lab.vm1, &lab.vm2, &lab.gw, &lab.out] {
        let errors = counters::csum_errors(ns)?;
        ensure!(errors == 0, "{errors} checksum errors in {}", ns.name());
    }
    Ok(())
}

/// Nearly all packets of long transfers, byte by byte the right ones.
fn transfers(options: Options) -> Result<()> {
    let lab = Lab::with(options)?;
    let natbpf = start(&lab, &[])?;
    let server = Server::start(&lab.out, (SERVER, 80))?;
    let down = download(&lab.vm1, &server.url("/bytes/100000000")?, &[])?;
    let up = upload(&lab.vm2, &server.url("/")?, 30_000_000)?;
    ensure!((down.bytes, up.bytes) == (100_000_000, 30_000_000), "{down:?}, {up:?}");
    let replies = ping(&lab.vm1, SERVER, "-c 50 -i 0.01")?;
    ensure!(replies.received == 50, "{replies:?}");
    for (all, repeated) in [("egress_packets", "egress_offloaded"), ("ingress_packets", "ingress_offloaded")]
    {
        let (all, repeated) = (natbpf.counter(all)?, natbpf.counter(repeated)?);
        ensure!(repeated * 10 > all * 9, "{repeated} of {all} packets were repeated\n{}", natbpf.log());
    }
    no_checksum_errors(&lab)
}

#[test]
fn transfers_from_a_bridge() -> Result<()> {
    transfers(Options::default())
}

#[test]
fn transfers_from_routed_ports() -> Result<()> {
    transfers(routed())
}

#[test]
fn transfers_without_offloads_of_the_devices() -> Result<()> {
    transfers(Options { offloads: false, ..Options::default() })
}

/// Checksums that devices were to complete, completed in the gateway, where each mistake would show.
#[test]
fn transfers_with_checksums_completed_in_the_gateway() -> Result<()> {
    let lab = Lab::new()?;
    for device in ["wan", "port1", "port2"] {
        lab.gw.cmd("ethtool").args(["-K", device, "tx", "off"]).run()?;
    }
    let natbpf = start(&lab, &[])?;
    let server = Server::start(&lab.out, (SERVER, 80))?;
    let down = download(&lab.vm1, &server.url("/bytes/30000000")?, &[])?;
    let up = upload(&lab.vm2, &server.url("/")?, 30_000_000)?;
    ensure!((down.bytes, up.bytes) == (30_000_000, 30_000_000), "{down:?}, {up:?}");
    let [out, back] = offloaded(natbpf.cli())?;
    ensure!(out > 100 && back > 100, "{out} and {back} packets were repeated");
    no_checksum_errors(&lab)
}

#[test]
fn off_means_off() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--offload", "off"])?;
    iperf3(&lab.vm1, (&lab.out, SERVER), "-t 1")?;
    ensure!(offloaded(natbpf.cli())? == [0, 0]);
    let filters = lab.gw.cmd("ip").args(["-d", "link", "show", "port1"]).output_text()?;
    ensure!(!filters.contains("prog"), "something is attached to port1: {filters}");
    Ok(())
}

/// A rule of the firewall that comes later.
fn a_drop_rule(lab: &Lab) -> Result<()> {
    lab.gw.cmd("iptables").args(["-I", "FORWARD", "-s", &VM1.to_string(), "-j", "DROP"]).run()
}

#[test]
fn a_drop_rule_stops_a_running_flow_within_a_second() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let rule = Instant::now();
    a_drop_rule(&lab)?;
    let last = pulse.last_answer(rule, 2 * SOON);
    ensure!(last < SOON, "answers still came after {last:?}");
    lab.gw.cmd("iptables").args(["-F", "FORWARD"]).run()?;
    pulse.goes_on(SOON)?;
    is_offloaded(&natbpf)
}

#[test]
fn a_drop_rule_stops_a_running_flow_within_the_interval_without_the_daemon() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--revalidate", "2s"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let cli = natbpf.kill()?;
    let before = offloaded(&cli)?;
    pulse.goes_on(SOON)?;
    let after = offloaded(&cli)?;
    ensure!(after[0] > before[0] && after[1] > before[1], "{before:?}, {after:?}: nothing is repeated");
    let rule = Instant::now();
    a_drop_rule(&lab)?;
    let last = pulse.last_answer(rule, REVALIDATE + SOON);
    ensure!(last < REVALIDATE + SOON / 2, "answers still came after {last:?}");
    Ok(())
}

/// How often the kernel was asked.
pub fn asked(natbpf: &Natbpf) -> Result<u64> {
    Ok(natbpf.counter("paths_noted")? + natbpf.counter("paths_renewed")?)
}

/// For several intervals: each time one packet asks.
#[test]
fn asking_again_interrupts_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--revalidate", "1s"])?;
    let pulse = Pulse::start(&lab)?;
    let start = Instant::now();
    let silence = pulse.longest_silence(start, Duration::from_secs(4));
    ensure!(silence < Duration::from_millis(500), "no answer for {silence:?}");
    let noted = asked(&natbpf)?;
    ensure!((6..100).contains(&noted), "in four seconds it was asked {noted} times");
    is_offloaded(&natbpf)
}

#[test]
fn a_next_hop_that_changes_its_mac() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let change = Instant::now();
    lab.out.ip("link set eth0 address 02:00:00:00:99:99")?;
    // As its gratuitous ARP would.
    lab.gw.ip(&format!("neigh replace {SERVER} lladdr 02:00:00:00:99:99 dev wan nud reachable"))?;
    let silence = pulse.longest_silence(change, 2 * SOON);
    ensure!(silence < SOON, "no answer for {silence:?}\n{}", natbpf.log());
    is_offloaded(&natbpf)
}

#[test]
fn a_route_that_moves_to_another_uplink() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip("link add wan2 type veth peer name eth1 netns out\naddr add 198.51.100.1/24 dev wan2\nlink set wan2 up")?;
    lab.out.ip("addr add 198.51.100.10/24 dev eth1\nlink set eth1 up")?;
    lab.wait_for_carriers()?;
    let arguments = ["masquerade", "-o", "wan*", "-s", INSIDE, "--offload", "on", "--revalidate", "1m"];
    let natbpf = lab.natbpf_cli()?.start(arguments)?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let change = Instant::now();
    lab.gw.ip(&format!("route add {SERVER}/32 via 198.51.100.10 dev wan2"))?;
    let silence = pulse.longest_silence(change, 2 * SOON);
    ensure!(silence < SOON, "no answer for {silence:?}\n{}", natbpf.log());
    is_offloaded(&natbpf)?;
    let flows = natbpf.flows_list()?;
    ensure!(flows.contains("dst=198.51.100.1 "), "it still has the old address: {flows}");
    Ok(())
}

/// The instance's MAC and address appear at another port of the bridge.
fn migrate(lab: &Lab) -> Result<()> {
    let link = address(&lab.vm1, "eth0")?;
    lab.vm1.ip(&format!(
        "link set eth0 down\naddr flush dev eth0\nlink set eth1 address {link}\naddr add {VM1}/24 dev eth1\n\
         link set eth1 up\nroute replace default via 10.0.0.1 dev eth1"
    ))
}

fn with_another_port(lab: &Lab) -> Result<()> {
    lab.gw.ip(
        "link add port3 type veth peer name eth1 netns vm1\nlink set port3 master br0\nlink set port3 up",
    )?;
    // Where it is up already it need not wait for the bridge to learn of it.
    lab.vm1.ip("link set eth1 up")
}

#[test]
fn an_instance_that_migrates() -> Result<()> {
    let lab = Lab::new()?;
    with_another_port(&lab)?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let change = Instant::now();
    migrate(&lab)?;
    let silence = pulse.longest_silence(change, 2 * SOON);
    ensure!(silence < SOON, "no answer for {silence:?}\n{}", natbpf.log());
    is_offloaded(&natbpf)
}

/// The datapath sees by itself that its packets come from elsewhere.
#[test]
fn an_instance_that_migrates_without_the_daemon() -> Result<()> {
    let lab = Lab::new()?;
    with_another_port(&lab)?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let cli = natbpf.kill()?;
    let change = Instant::now();
    migrate(&lab)?;
    let silence = pulse.longest_silence(change, 2 * SOON);
    ensure!(silence < SOON, "no answer for {silence:?}");
    let before = offloaded(&cli)?;
    pulse.goes_on(SOON)?;
    let after = offloaded(&cli)?;
    ensure!(after[0] > before[0] && after[1] > before[1], "{before:?}, {after:?}: nothing is repeated");
    Ok(())
}

/// A port that comes later.
#[test]
fn a_port_that_appears() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &[])?;
    with_another_port(&lab)?;
    migrate(&lab)?;
    let _pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)
}

/// Rules that drop what conntrack finds out of order: repeated packets are not seen by it.
#[test]
fn rules_that_drop_invalid_packets_kill_no_flow() -> Result<()> {
    let lab = Lab::new()?;
    for rule in [
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
        "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A FORWARD -s 10.0.0.0/24 -j ACCEPT",
        "-P FORWARD DROP",
    ] {
        lab.gw.cmd("iptables").args(rule.split(' ')).run()?;
    }
    let liberal = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";
    let before = lab.gw.read(liberal)?;
    let natbpf = start(&lab, &["--revalidate", "1s"])?;
    for direction in ["-t 4", "-t 4 -R"] {
        let stream = iperf3(&lab.vm1, (&lab.out, SERVER), direction)?;
        ensure!(stream.bits_per_second > 1e9, "{direction}: {stream:?}");
    }
    ensure!(lab.gw.read(liberal)?.trim() == "1", "conntrack is not liberal");
    let [out, back] = offloaded(natbpf.cli())?;
    ensure!(out > 1000 && back > 1000, "{out} and {back} packets were repeated");
    natbpf.stop()?;
    ensure!(lab.gw.read(liberal)? == before, "the sysctl is not as it was");
    Ok(())
}

/// A neighbour who writes another instance's address and MAC.
#[test]
fn forged_frames_are_not_repeated() -> Result<()> {
    let lab = Lab::new()?;
    // The bridge takes from a locked port only what it knows to be there.
    lab.gw.cmd("bridge").args("link set dev port2 locked on learning off".split(' ')).run()?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let wire =
        Wire::open(&lab.vm2, "eth0", bytes(&address(&lab.vm1, "eth0")?), bytes(&address(&lab.gw, "br0")?))?;
    drop(pulse);
    let before = offloaded(natbpf.cli())?;
    for _ in 0..100 {
        wire.send(&Packet::udp((VM1, 5000), (SERVER, 9)))?;
    }
    thread::sleep(Duration::from_millis(200));
    let after = offloaded(natbpf.cli())?;
    ensure!(before[0] == after[0], "{before:?}, {after:?}: forged packets were repeated");
    Ok(())
}

/// Packets that are too long for the uplink are the kernel's, which says so.
#[test]
fn a_smaller_uplink() -> Result<()> {
    for options in [Options::default(), Options { offloads: false, ..Options::default() }] {
        let lab = Lab::with(options)?;
        lab.gw.ip("link set wan mtu 1280")?;
        lab.out.ip("link set eth0 mtu 1280")?;
        let natbpf = start(&lab, &[])?;
        let server = Server::start(&lab.out, (SERVER, 80))?;
        let up = upload(&lab.vm1, &server.url("/")?, 20_000_000)?;
        let down = download(&lab.vm1, &server.url("/bytes/20000000")?, &[])?;
        ensure!((up.bytes, down.bytes) == (20_000_000, 20_000_000), "{up:?}, {down:?}");
        let small = ping(&lab.vm1, SERVER, "-c 20 -i 0.01 -M do -s 1252")?;
        ensure!(small.received == 20, "{small:?}");
        // Without a note that it is too long ping would say nothing of it.
        let long = lab.vm2.cmd("ping").args("-c 2 -W 1 -M do -s 1400".split(' ')).arg(SERVER.to_string());
        let text = long.output()?.stdout;
        ensure!(String::from_utf8_lossy(&text).contains("mtu = 1280"), "{}", String::from_utf8_lossy(&text));
        let [out, back] = offloaded(natbpf.cli())?;
        ensure!(out > 100 && back > 100, "{out} and {back} packets were repeated");
        no_checksum_errors(&lab)?;
    }
    Ok(())
}
