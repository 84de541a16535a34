//! A daemon with much to do follows changes all the same: a full table, hundreds of new ports, neighbours that flap.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::netns::agent::{Agent, Place};
use lab::traffic::Traffic;
use lab::wire::Wire;
use lab::{GATEWAY, INSIDE, Lab, Natbpf, Options, wait_until};
use nix::sys::signal::Signal;

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
    let said = || Ok(daemon.log().contains(&format!("10.9.9.{last}")));
    // On a machine that is busy with other things; what holds it up takes longer by far.
    wait_until("the address is followed", 3 * SECOND, said)?;
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
    let took = used(&mut daemon)?.checked_sub(before).unwrap();
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
    wait_until("all ports are attached to", 60 * SECOND, || Ok(ports()? == PORTS as usize + 2))?;
    // Somebody comes to the bridge: nothing goes past him from then on, and taking the programs off holds up
    // nothing either.
    let agent = Agent::attach(&lab.gw, "br0", Place::TcxIngress)?;
    wait_until("offload pauses", 3 * SECOND, || Ok(epoch(&daemon)? == 0))?;
    let left = ports()?;
    // An uplink has eight addresses.
    let latest = (11..=12).map(|last| follows(&lab, &daemon, last)).collect::<Result<Vec<_>>>()?;
    println!("offload paused with {left} ports attached to; addresses were followed after {latest:?}");
    wait_until("all ports are left", 60 * SECOND, || Ok(ports()? == 0))?;
    wait_until("offload goes on for others", 3 * SECOND, || Ok(epoch(&daemon)? != 0))?;
    ensure!(left > 0, "offload paused when no port was left");
    drop(agent);
    wait_until("all ports are attached to again", 60 * SECOND, || Ok(ports()? == PORTS as usize + 2))
}

/// While something changes all the time, addresses and programs that come are followed, and the daemon leaves
/// others their share.
fn nothing_is_held_up(lab: &Lab, daemon: &mut Natbpf, change: impl Fn() -> Result<()> + Sync) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let restless = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                change()?;
            }
            Ok(())
        });
        let outcome = (|| {
            thread::sleep(SECOND);
            let before = used(daemon)?;
            thread::sleep(5 * SECOND);
            let took = used(daemon)?.checked_sub(before).unwrap();
            let latest = (1..=5).map(|last| follows(lab, daemon, last)).collect::<Result<Vec<_>>>()?;
            println!("changes all the time: {took:?} of 5 s; addresses were followed after {latest:?}");
            let _agent = Agent::attach(&lab.gw, "br0", Place::TcxIngress)?;
            wait_until("who comes to the bridge is seen", 3 * SECOND, || {
                Ok(daemon.log().contains("is attached to br0"))
            })?;
            ensure!(took < 3 * SECOND, "{took:?} of 5 s");
            Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        restless.join().expect("it does not panic")?;
        outcome
    })
}

/// As a container can have it by its end of a veth.
#[test]
fn an_interface_that_changes_all_the_time_holds_up_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let mut daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    lab.gw.ip("link add restless type veth peer name restless1")?;
    let changes: String = (0..500).map(|turn| format!("link set restless alias a{turn}\n")).collect();
    nothing_is_held_up(&lab, &mut daemon, || lab.gw.ip(&changes).map(drop))
}

/// A block that interfaces share, whose filters somebody changes with every flow, as Open vSwitch does: each
/// may be at any port. One of the interfaces would be an uplink, but for these filters.
#[test]
fn filters_that_change_all_the_time_hold_up_nothing() -> Result<()> {
    const PORTS: u32 = 200;
    let lab = Lab::new()?;
    let pair = |number| {
        format!("link add n{number} type veth peer name m{number}\nlink set n{number} master br0 up\n")
    };
    lab.gw.ip(&(0..PORTS).map(pair).collect::<String>())?;
    lab.gw.ip("link add w1 type veth peer name restless")?;
    let tc = |command: &str| lab.gw.cmd("tc").args(command.split(' ')).run().map(drop);
    tc("qdisc add dev w1 ingress_block 7 clsact")?;
    tc("filter add block 7 protocol ip pref 1 u32 match u32 0 0 flowid :1")?;
    let mut daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "w*", "-s", INSIDE, "--offload", "on"])?;
    ensure!(daemon.log().contains("w1 is left out"), "{}", daemon.log());
    let folder = tempfile::tempdir()?;
    let batch = folder.path().join("changes");
    let changes = (2..=500).map(|turn| {
        format!(
            "filter add block 7 protocol ip pref {turn} u32 match u32 0 0 flowid :1\n\
             filter del block 7 protocol ip pref {turn} u32\n"
        )
    });
    fs::write(&batch, changes.collect::<String>())?;
    nothing_is_held_up(&lab, &mut daemon, || lab.gw.cmd("tc").arg("-batch").arg(&batch).run().map(drop))
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

/// An instance that sends from ever new MAC addresses, more than the daemon has room to hear of while it is
/// held up for a moment.
#[test]
fn stations_that_are_made_up_cost_the_others_little() -> Result<()> {
    const ROUNDS: u32 = 10;
    const STATIONS: u32 = 25_000;
    let lab = Lab::new()?;
    let mut daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on"])?;
    let wire = Wire::open(&lab.vm1, "eth0", [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])?;
    let frame = |station: u32| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0x5a];
        frame.extend(station.to_be_bytes());
        // An experimental EtherType.
        frame.extend([0x88, 0xb5]);
        frame.resize(60, 0);
        frame
    };
    thread::sleep(2 * SECOND);
    let (before, start) = (epoch(&daemon)?, Instant::now());
    for round in 0..ROUNDS {
        daemon.process().signal(Signal::SIGSTOP)?;
        let sent = wire.send_all((round * STATIONS..(round + 1) * STATIONS).map(frame));
        daemon.process().signal(Signal::SIGCONT)?;
        sent?;
        thread::sleep(Duration::from_millis(150));
    }
    let (counted, took) = (epoch(&daemon)? - before, start.elapsed());
    println!("{counted} epochs in {took:?}");
    // Each answer counts twice.
    let most = 2 * (took.as_secs() + 2);
    ensure!((2..=most).contains(&counted), "{counted} epochs in {took:?}\n{}", daemon.log());
    // What has nothing to do with it is heard at once.
    thread::sleep(2 * SECOND);
    let before = epoch(&daemon)?;
    lab.gw.ip("route add 198.51.100.0/24 via 203.0.113.10")?;
    wait_until("the route counts", SECOND / 4, || Ok(epoch(&daemon)? > before))
}
