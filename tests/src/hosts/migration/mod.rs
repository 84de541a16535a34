//! Live migration: a guest that QEMU emulates moves to another port of its host, to another host, and back, while it
//! speaks with the outside.
//!
//! ```text
//!               ┌ vnet1 ┐
//!  guest  eth0 ─┤ vnet2 ┴ br0  host    trunk ── toa ┐
//!               └ vnet3 ─ br0  second  trunk ── tob ┴ br0  switch  toc ──── outside 203.0.113.9
//! ```
//!
//! natbpf is on both hosts. Each QEMU has a TAP of its own, which ends with it, as libvirt has it.

mod echo;
mod machine;
mod node;
mod pulse;
mod qmp;
mod watch;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::check::{BULK, Check};
use super::host::{Event, Host, Measurement};
use super::outside::{OUTSIDE, Outside};
use super::pod::Pod;
use super::repeated::Repeated;
use super::streams::{Client, IPERF, Stream};
use super::way::Way;
use crate::ends::dns;
use crate::gateway::natbpf::{Cli, Natbpf};
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::Process;
use machine::Machine;
use node::{Node, bridge};
use watch::Watch;

const GUEST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// For what is run in the guest.
const LIMIT: Duration = Duration::from_mins(2);

/// Until what is sent takes its final way, before and after a move.
const SETTLE: Duration = Duration::from_secs(2);

/// What a move may cost beside natbpf, the guest's own standstill not counted.
const LOSS: Duration = Duration::from_secs(1);

/// Of the packets of a second that are to be repeated.
const SHARE: f64 = 0.9;
const PACKETS: u64 = 500;

/// Two hosts and a switch.
#[derive(Debug)]
pub struct Migration {
    machine: Mutex<Machine>,
    /// Of machines so far.
    count: AtomicU32,
    _leases: Process,
    // In the order of removal.
    nodes: [Node; 2],
    _between: TempDir,
    outside: Outside,
    _switch: Namespace,
    _isolation: Isolation,
}

impl Migration {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (first, outside) = Outside::unnumbered("toc")?;
        let [second, switch] = ["second", "switch"].map(Namespace::new);
        let (second, switch) = (second?, switch?);
        first.ip("link set toc netns switch")?;
        switch.ip(&format!(
            "link add toa type veth peer name trunk netns host\nlink add tob type veth peer name trunk netns second\n{}",
            bridge(&["toa", "tob", "toc"])
        ))?;
        // What comes from another machine has its checksums.
        outside.namespace.cmd("ethtool").args(["-K", "eth0", "tx", "off"]).run()?;
        let between = tempfile::tempdir()?;
        let [first, second] = [first, second].map(|namespace| Node::start(namespace, between.path()));
        let nodes = [first?, second?];
        let leases = dns::lease(&outside.namespace, "eth0", GUEST)?;
        let machine = Machine::boot(&nodes, 0, 1)?;
        let guest = machine.guest_booted(&nodes)?;
        ensure!(guest.address == GUEST, "the guest has {}", guest.address);
        guest.sh(echo::SERVER, LIMIT)?;
        Ok(Self {
            machine: Mutex::new(machine),
            count: AtomicU32::new(1),
            _leases: leases,
            nodes,
            _between: between,
            outside,
            _switch: switch,
            _isolation: isolation,
        })
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command in the guest, wherever it is.
    fn sh(&self, command: &str) -> Result<String> {
        self.machine().guest(&self.nodes, GUEST).sh(command, LIMIT)
    }

    fn check(&self, what: &str, command: String) -> Check<'_> {
        Check::new(what, move || self.sh(&command).map(drop))
    }

    /// The guest moves in the middle of a stream.
    fn moves_to(&self, node: usize, natbpf: &[Natbpf]) -> Result<String> {
        let mut machine = self.machine();
        let from = machine.node;
        let watch = Watch::start(&self.outside.namespace, GUEST)?;
        thread::sleep(SETTLE);
        let before = natbpf.get(from).map(repeats).transpose()?;
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let downtime = machine.move_to(&self.nodes, node, number)?;
        thread::sleep(SETTLE);
        let left = natbpf.get(from).filter(|_| from != node);
        let stale = left.map(Repeated::so_far).transpose()?;
        let after = natbpf.get(node).map(repeats).transpose()?;
        if let (Some(left), Some(stale)) = (left, stale) {
            has_nothing(left, stale)?;
        }
        let seen = watch.finish()?;
        let percent = |repeated: Repeated| repeated.share() * 100.0;
        let shares = before.zip(after).map(|(before, after)| {
            format!("; repeated: {:.1} % before, {:.1} % after", percent(before), percent(after))
        });
        let stood = downtime.as_millis();
        let said =
            format!("the guest stood still for {stood} ms (QEMU): {seen}{}", shares.unwrap_or_default());
        ensure!(seen.announcements > 0, "QEMU did not announce the guest: {said}");
        let limit = downtime + LOSS;
        // TCP sends again at intervals that double, at worst when the guest has been back for as long as it was away.
        let goes_on = seen.silence <= limit && seen.tcp_silence <= 2 * limit;
        ensure!(natbpf.is_empty() || goes_on, "silent for too long: {said}");
        Ok(said)
    }
}

/// A second of it; most has to be repeated.
fn repeats(natbpf: &Natbpf) -> Result<Repeated> {
    let second = Repeated::during(natbpf, || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    ensure!(second.repeated >= PACKETS && second.share() >= SHARE, "of a second's packets: {second:?}");
    Ok(second)
}

/// The host that the guest has left repeats nothing any more, and has nothing to repeat.
fn has_nothing(natbpf: &Natbpf, before: Repeated) -> Result<()> {
    let more = (Repeated::so_far(natbpf)? - before).repeated;
    let paths = natbpf.cli().cmd().args(["paths", "list"]).output_text()?;
    ensure!(
        more == 0 && paths.trim().is_empty(),
        "the host that the guest has left repeated {more} packets, and has paths: {paths}"
    );
    Ok(())
}

impl Host for Migration {
    fn pod(&self) -> Option<&Pod> {
        Some(&self.nodes[0].pod)
    }

    fn network(&self) -> &Namespace {
        &self.nodes[0].namespace
    }

    fn routers(&self) -> Vec<&Namespace> {
        vec![&self.nodes[1].namespace]
    }

    fn further_clis(&self) -> Vec<Cli> {
        vec![self.nodes[1].pod.natbpf_cli()]
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let outside = &self.outside.namespace;
        vec![
            Check::ping("outside pings guest", outside, GUEST),
            Check::download("outside to guest", outside, format!("http://{GUEST}/{BULK}")),
            self.check("guest to outside", format!("wget -q -O - {} | cmp - /www/{BULK}", Outside::url())),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        vec![Stream {
            name: "guest to outside",
            client: Client::Shell(Box::new(|command| self.sh(command))),
            server: &self.outside.namespace,
            address: OUTSIDE,
            port: IPERF,
        }]
    }

    fn events(&self) -> Vec<Event<'_>> {
        Vec::new()
    }

    fn measurements(&self) -> Vec<Measurement<'_>> {
        let moves =
            |what, node| Measurement { what, take: Box::new(move |natbpf| self.moves_to(node, natbpf)) };
        vec![
            moves("the guest moves to another port", 0),
            moves("the guest moves to another host", 1),
            moves("the guest moves back", 0),
        ]
    }

    /// An emulated guest is too slow to measure by.
    fn ways(&self) -> Vec<Way<'_>> {
        Vec::new()
    }
}
