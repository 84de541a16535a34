//! A guest that moves while it speaks: to another port of its host, and to another host, as live migration does it.
//!
//! ```text
//!       ┌ eth0 ── port1 ┐
//!  vm   ├ eth1 ── port2 ┴ hosta  trunk ── toa ┐
//!       └ eth2 ── port3 ─ hostb  trunk ── tob ┴ switch  toc ── eth0  peer
//! ```
//!
//! The guest's address is its own; its cards have one MAC address, and one of them is there at a time. natbpf is on
//! both hosts and on the switch between them.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::ends::http::Server;
use lab::ends::tools::download;
use lab::gateway::natbpf::Cli;
use lab::netns::link::colons;
use lab::wire::Wire;
use lab::{End, Isolation, Namespace, Natbpf, SERVER, Site, VM1, isolate};

use super::{NEVER, SOON, repeated};
use crate::e2e::offload::pulse::Pulse;

/// The guest's.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
/// Frames that QEMU sends for a guest that has arrived, and the time between the first two, which grows.
const ANNOUNCEMENTS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Cloud {
    vm: Namespace,
    hosts: [Namespace; 2],
    switch: Namespace,
    peer: Namespace,
    _isolation: Isolation,
}

impl Cloud {
    fn new() -> Result<Self> {
        let isolation = isolate()?;
        let [vm, a, b, switch, peer] = ["vm", "hosta", "hostb", "switch", "peer"].map(Namespace::new);
        let (vm, hosts, switch, peer) = (vm?, [a?, b?], switch?, peer?);
        let bridge = |ports: &[&str]| {
            let ports = ports.iter().map(|port| format!("link set {port} master br0 up\n"));
            format!("link add br0 type bridge\nlink set br0 up\n{}", ports.collect::<String>())
        };
        switch.ip(
            "link add toa type veth peer name trunk netns hosta\nlink add tob type veth peer name trunk netns hostb\n\
             link add toc type veth peer name eth0 netns peer",
        )?;
        hosts[0].ip(
            "link add port1 type veth peer name eth0 netns vm\nlink add port2 type veth peer name eth1 netns vm",
        )?;
        hosts[1].ip("link add port3 type veth peer name eth2 netns vm")?;
        switch.ip(&bridge(&["toa", "tob", "toc"]))?;
        hosts[0].ip(&bridge(&["port1", "port2", "trunk"]))?;
        hosts[1].ip(&bridge(&["port3", "trunk"]))?;
        peer.ip(&format!("addr add {SERVER}/24 dev eth0\nlink set eth0 up\nroute add {VM1}/32 dev eth0"))?;
        let mac = colons(MAC);
        let cards = ["eth0", "eth1", "eth2"].map(|card| format!("link set {card} address {mac}\n"));
        vm.ip(&format!("{}addr add {VM1}/32 dev lo", cards.concat()))?;
        let cloud = Self { vm, hosts, switch, peer, _isolation: isolation };
        cloud.arrives("eth0")?;
        Ok(cloud)
    }

    /// The guest is there from now on, by this card, and says so.
    fn arrives(&self, card: &str) -> Result<()> {
        self.vm.ip(&format!("link set {card} up\nroute replace {SERVER}/32 dev {card} src {VM1}"))?;
        let wire = Wire::open(&self.vm, card, MAC, [0xff; 6])?;
        for number in 0..ANNOUNCEMENTS {
            wire.send_frame(&announcement())?;
            thread::sleep(BETWEEN * number);
        }
        Ok(())
    }

    /// It is gone from one and arrives by another.
    fn moves(&self, from: &str, to: &str) -> Result<()> {
        self.vm.ip(&format!("link set {from} down"))?;
        self.arrives(to)
    }

    fn start(&self) -> Result<[Natbpf; 3]> {
        let start =
            |namespace, instance| Cli::new(namespace, instance)?.start(["accelerate", "--revalidate", NEVER]);
        Ok([start(&self.hosts[0], "a")?, start(&self.hosts[1], "b")?, start(&self.switch, "switch")?])
    }
}

impl Site for Cloud {
    fn host(&self) -> &Namespace {
        &self.hosts[0]
    }

    fn inside(&self) -> End<'_> {
        End { namespace: &self.vm, edge: "port1", hop: (&self.peer, "eth0") }
    }

    fn outside(&self) -> End<'_> {
        End { namespace: &self.peer, edge: "trunk", hop: (&self.vm, "eth0") }
    }

    fn server(&self) -> Ipv4Addr {
        SERVER
    }

    fn is_routed(&self) -> bool {
        false
    }
}

/// A request of RARP (RFC 903) for the guest's own address, as QEMU sends it to everybody.
fn announcement() -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, 3];
    let bodies = [&MAC[..], &[0; 4], &MAC, &[0; 4]].concat();
    let mut frame = [&[0xff; 6][..], &MAC, &[0x80, 0x35], &header, &bodies].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn a_guest_that_moves_to_another_port_and_to_another_host() -> Result<()> {
    let cloud = Cloud::new()?;
    let natbpf = cloud.start()?;
    let server = Server::start(&cloud.peer, (SERVER, 8000))?;
    let url = server.url("/bytes/40000000")?;
    let pulse = Pulse::start(&cloud)?;
    thread::scope(|scope| {
        // Five megabytes a second, so that it lasts over both moves.
        let transfer = scope.spawn(|| download(&cloud.vm, &url, &["--limit-rate", "5M"]));
        for (from, to, on) in [("eth0", "eth1", 0), ("eth1", "eth2", 1)] {
            thread::sleep(SOON);
            let before = repeated(&natbpf[2])?;
            ensure!(before > 100, "the switch has repeated {before} packets");
            let start = Instant::now();
            cloud.moves(from, to)?;
            let silence = pulse.longest_silence(start, 2 * SOON);
            ensure!(silence < SOON, "from {from} to {to}: no answers for {silence:?}");
            let before = repeated(&natbpf[on])?;
            thread::sleep(SOON);
            let after = repeated(&natbpf[on])?;
            ensure!(after > before + 100, "behind {to} {} packets were repeated in a second", after - before);
        }
        let transfer = transfer.join().ok().context("the transfer panicked")??;
        ensure!(transfer.bytes == 40_000_000, "{} bytes", transfer.bytes);
        Ok(())
    })
}
