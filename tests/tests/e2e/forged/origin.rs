//! A neighbour sends with somebody else's address and port. The kernel drops that, and natbpf must not learn
//! from it by which frames the other one speaks.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use lab::ends::reflector::Reflector;
use lab::netns::link::Link;
use lab::wire::flood::Flood;
use nix::net::if_::if_nametoindex;

use super::*;

const SERVER_PORT: u16 = 7777;
const FLOWS: u16 = 16;

/// Each flow asks the kernel again several times meanwhile.
const TIME: Duration = Duration::from_secs(6);

/// More than anybody sends.
const AS_FAST_AS_IT_GOES: u32 = 10_000_000;

fn tuple(number: u64) -> Packet {
    let port = 40_000 + (number % u64::from(FLOWS)) as u16;
    Packet::udp((VM1, port), (SERVER, SERVER_PORT)).payload(FORGED)
}

/// A firewall with many rules, none of which is about anybody here: packets take a while from their port to
/// the uplink, and what comes to natbpf meanwhile comes at the worst moment.
fn a_long_firewall(lab: &Lab) -> Result<()> {
    let rules = "add rule ip long forward ip saddr 192.0.2.1 drop;".repeat(2000);
    let chain = "add table ip long; add chain ip long forward { type filter hook forward priority 0; };";
    lab.gw.cmd("nft").arg([chain, &rules].concat()).run()
}

/// A flood from vm2 with the address of vm1, in frames from and to the addresses that `find` has chosen.
fn none_leave(
    options: Options,
    guard: fn(&Lab) -> Result<()>,
    find: fn(&Lab, u32, u32) -> Result<[Link; 2]>,
) -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::with(options)?;
    guard(&lab)?;
    a_long_firewall(&lab)?;
    let natbpf = start(&lab, &["--revalidate", "1s"])?;
    let index = |device: &'static str| lab.gw.enter(move || if_nametoindex(device));
    let [to, from] = find(&lab, index("port1")??, index("port2")??)?;
    let _server = Reflector::start(&lab.out, (SERVER, SERVER_PORT))?;
    let sockets = (0..FLOWS).map(|flow| lab.vm1.udp((VM1, 40_000 + flow))).collect::<Result<Vec<_>>>()?;
    let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
    let neighbour = Wire::open(&lab.vm2, "eth0", from, to)?;

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| speak(&sockets, &over));
        let frames: Vec<_> = (0..u64::from(FLOWS)).map(|flow| neighbour.frame_of(&tuple(flow))).collect();
        let frame = move |_: &Wire, number: u64| frames[number as usize % frames.len()].clone();
        let flood = Flood::start(neighbour, AS_FAST_AS_IT_GOES, frame);
        let begin = Instant::now();
        let mut forged = Ok(0);
        while begin.elapsed() < TIME && matches!(forged, Ok(0)) {
            thread::sleep(Duration::from_millis(20));
            forged = forged_outside(&outside);
        }
        over.store(true, Ordering::Relaxed);
        let (forged, sent) = (forged?, flood.stop()?);
        println!("{sent} forged packets in {:.1} s", begin.elapsed().as_secs_f64());
        ensure!(forged == 0, "of {sent} packets that the kernel drops, {forged} left as vm1's at once");
        ensure!(sent > 10_000, "only {sent} forged packets were sent: this proved nothing");
        Ok(())
    })?;
    let repeated = natbpf.counter("egress_offloaded")?;
    ensure!(repeated > 100, "of vm1's packets {repeated} were repeated: this proved nothing");
    Ok(())
}

/// What vm1 has to say.
fn speak(sockets: &[UdpSocket], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for socket in sockets {
            let _ = socket.send_to(b"true", (SERVER, SERVER_PORT));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_the_bridge_drops_does_not_leave_as_anothers() -> Result<()> {
    none_leave(Options::default(), guard_the_bridge, |lab, port1, port2| {
        let bridge = lab::link_address(&lab.gw, "br0")?;
        let [victim, own] = [lab::link_address(&lab.vm1, "eth0")?, lab::link_address(&lab.vm2, "eth0")?];
        let wanted = digest::of(port1, bridge, victim);
        Ok([digest::find(wanted, |to| digest::of(port2, to, own))?, own])
    })
}

#[test]
fn what_rp_filter_drops_does_not_leave_as_anothers() -> Result<()> {
    none_leave(routed(), guard_the_routes, |lab, port1, port2| {
        let [other, own] = [lab::link_address(&lab.gw, "port1")?, lab::link_address(&lab.gw, "port2")?];
        let wanted = digest::of(port1, other, lab::link_address(&lab.vm1, "eth0")?);
        Ok([own, digest::find(wanted, |from| digest::of(port2, own, from))?])
    })
}
