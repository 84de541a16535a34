//! A daemon with much to do follows changes all the same: a full table, hundreds of new ports, neighbours that flap.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::traffic::Traffic;
use lab::{GATEWAY, INSIDE, Lab, Natbpf, Options, bpffs, wait_until};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

const SECOND: Duration = Duration::from_secs(1);

/// Time of processors that the daemon has used.
fn used(daemon: &mut Natbpf) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.process().pid()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok());
    Ok(Duration::from_millis(10 * (ticks(11).context("ticks")? + ticks(12).context("ticks")?)))
}

/// The log says a new address of the uplink soon after it has come.
fn follows(lab: &Lab, daemon: &Natbpf, last: u32) -> Result<Duration> {
    let start = Instant::now();
    lab.gw.ip(&format!("addr add 10.9.9.{last}/32 dev wan"))?;
    wait_until("the address is followed", SECOND, || Ok(daemon.log().contains(&format!("10.9.9.{last}"))))?;
    Ok(start.elapsed())
}

#[test]
fn a_full_table_takes_a_small_share_and_holds_up_nothing() -> Result<()> {
    const FLOWS: u32 = 500_000;
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    let room = (FLOWS + FLOWS / 20).to_string();
    let arguments =
        ["masquerade", "-o", "wan", "-s", INSIDE, "--max-flows", &room, "--max-flows-per-source", "0"];
    let mut daemon = lab.natbpf_cli()?.start(arguments)?;
    let mut traffic = Traffic::new(&lab, GATEWAY)?;
    let run = traffic.send(&lab, FLOWS, u64::from(FLOWS), 0)?;
    ensure!(run.translated == run.sent, "{run:?}");
    wait_until("it is said", 20 * SECOND, || Ok(daemon.log().contains("the flow table is nearly full")))?;
    let before = used(&mut daemon)?;
    thread::sleep(5 * SECOND);
    let took = used(&mut daemon)? - before;
    ensure!(took < SECOND, "{took:?} of 5 s");
    let latest = (1..=5).map(|last| follows(&lab, &daemon, last)).collect::<Result<Vec<_>>>()?;
    println!("housekeeping of {FLOWS} flows: {took:?} of 5 s; addresses were followed after {latest:?}");
    // The address is gone, and with it all flows, while others come.
    lab.gw.ip("addr flush dev wan\naddr add 203.0.113.77/24 dev wan")?;
    follows(&lab, &daemon, 100)?;
    wait_until("the flows are over", 20 * SECOND, || Ok(daemon.flows_count()? == 0))
}

#[test]
fn hundreds_of_new_ports_hold_up_nothing() -> Result<()> {
    const PORTS: u32 = 300;
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    let pair = |number| {
        format!("link add n{number} type veth peer name m{number}\nlink set n{number} master br0 up\n")
    };
    lab.gw.ip(&(0..PORTS).map(pair).collect::<String>())?;
    let ports = || -> Result<usize> { Ok(daemon.status_json()?["ports"].as_array().map_or(0, Vec::len)) };
    let latest = (1..=5).map(|last| follows(&lab, &daemon, last)).collect::<Result<Vec<_>>>()?;
    println!("with {} of {PORTS} ports attached to, addresses were followed after {latest:?}", ports()?);
    wait_until("all ports are attached to", 60 * SECOND, || Ok(ports()? == PORTS as usize + 2))
}

fn epoch(daemon: &Natbpf) -> Result<u64> {
    daemon.status_json()?["offload"]["epoch"].as_u64().context("the epoch")
}

/// One neighbour that says another MAC address all the time, and a genuine change beside it.
#[test]
fn a_neighbour_that_flaps_costs_the_others_little() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    lab.gw.ip("neigh add 10.0.0.77 lladdr 02:00:00:00:77:00 dev br0\n\
               neigh add 203.0.113.99 lladdr 02:00:00:00:99:00 dev wan")?;
    thread::sleep(SECOND);
    let before = epoch(&daemon)?;
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < 5 * SECOND {
        turns += 1;
        lab.gw.ip(&format!("neigh replace 10.0.0.77 lladdr 02:00:00:00:77:{:02x} dev br0", turns % 2 + 1))?;
        thread::sleep(Duration::from_millis(15));
    }
    let counted = epoch(&daemon)? - before;
    ensure!(turns > 50, "only {turns} changes");
    // Each answer counts twice.
    ensure!(counted <= 2 * 16, "{turns} changes of one neighbour have counted {counted} epochs");
    let named = daemon.log().lines().filter(|line| line.contains("the neighbour 10.0.0.77 at br0")).count();
    ensure!(named == 1, "{}", daemon.log());
    // At once: what is owed for the other one may come in between, and counts twice.
    thread::sleep(2 * SECOND);
    let before = epoch(&daemon)?;
    lab.gw.ip("neigh replace 203.0.113.99 lladdr 02:00:00:00:99:01 dev wan")?;
    wait_until("the gateway's new address counts", SECOND / 4, || Ok(epoch(&daemon)? > before))
}

/// As iproute2 does it, and not for those who only read.
#[test]
fn a_bpffs_that_is_not_mounted_is_mounted() -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let natbpf = |args: &[&str]| {
        lab.gw.cmd(lab::natbpf::binary().unwrap_or_default()).arg("--bpffs").arg(path).args(args)
    };
    ensure!(!natbpf(&["status"]).output()?.status.success());
    ensure!(statfs(path)?.filesystem_type() != BPF_FS_MAGIC, "status has mounted one");
    let daemon = natbpf(&["masquerade", "-o", "wan", "-s", INSIDE]).spawn()?;
    daemon.wait_for(lab::process::Stream::Stdout, 20 * SECOND, |line| line.starts_with("ready"))?;
    let said = daemon.stderr_text();
    let mounted = statfs(path)?.filesystem_type() == BPF_FS_MAGIC;
    let outcome = super::setup::works(&lab);
    let ended = daemon.stop(nix::sys::signal::Signal::SIGTERM, 20 * SECOND)?;
    if mounted {
        nix::mount::umount(path)?;
    }
    ensure!(mounted && said.contains("mounted a BPF file system at"), "{said}");
    ensure!(ended.status.success() && statfs(bpffs())?.filesystem_type() == BPF_FS_MAGIC);
    outcome
}
