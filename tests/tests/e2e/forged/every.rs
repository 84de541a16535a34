//! Every index in turn, on frames with the tuple of a neighbour's flow: what natbpf has written there about
//! the neighbour's own packets is among them.

use std::thread;
use std::time::Instant;

use lab::netns::classid;

use super::*;

/// Several times: flows ask the kernel again every second, and only then is there something to be learnt.
const ROUNDS: usize = 4;

struct Attack {
    options: Options,
    arguments: &'static [&'static str],
    guard: fn(&Lab) -> Result<()>,
    /// The packet that vm2 makes up.
    packet: fn() -> Packet,
    /// Its Ethernet destination, if not the gateway's.
    to: Option<[u8; 6]>,
}

impl Attack {
    /// Sends from vm2 while vm1 speaks; returns how many forged packets came out outside.
    fn run(&self) -> Result<usize> {
        let lab = Lab::with(self.options)?;
        (self.guard)(&lab)?;
        let natbpf = start(&lab, &[&["--revalidate", "1s"], self.arguments].concat())?;
        let pulse = Pulse::start(&lab)?;
        is_offloaded(&natbpf)?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        let gateway = if self.options.bridge { "br0" } else { "port2" };
        let neighbour = Wire::between(&lab.vm2, "eth0", (&lab.gw, gateway))?;
        classid::by_identification(&lab.vm2, "eth0")?;
        let packet = (self.packet)();
        let mut forged = 0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for first in (1..=u16::MAX).step_by(4096) {
                let frames = (first..=first.saturating_add(4095)).map(|id| {
                    let mut frame = neighbour.frame_of(&packet.clone().id(id));
                    if let Some(to) = self.to {
                        frame[..6].copy_from_slice(&to);
                    }
                    frame
                });
                neighbour.send_all(frames)?;
                forged += forged_outside(&outside)?;
            }
            thread::sleep(Duration::from_millis(600).saturating_sub(start.elapsed()));
        }
        forged += forged_outside(&outside)?;
        pulse.goes_on(SOON).context("vm1 gets no replies any more")?;
        is_offloaded(&natbpf)?;
        Ok(forged)
    }
}

fn as_vm1() -> Packet {
    Packet::udp(FLOW[0], FLOW[1]).payload(FORGED)
}

fn as_the_server() -> Packet {
    Packet::udp(FLOW[1], FLOW[0]).payload([FORGED, &[b'x'; 1400]].concat())
}

fn drops(attack: &Attack) -> Result<()> {
    if selected(Kind::Natbpf) {
        let forged = attack.run()?;
        ensure!(forged == 0, "{forged} packets that the kernel drops left as vm1's");
    }
    Ok(())
}

const BY_THE_BRIDGE: Attack = Attack {
    options: Options { bridge: true, offloads: true, uplink: lab::Uplink::Veth, ipv6: false },
    arguments: &[],
    guard: guard_the_bridge,
    packet: as_vm1,
    to: None,
};

#[test]
fn what_the_bridge_drops_leaves_with_no_index() -> Result<()> {
    drops(&BY_THE_BRIDGE)
}

/// No program of natbpf is at vm2's port, to take the index away.
#[test]
fn what_the_bridge_drops_leaves_with_no_index_by_a_port_that_is_not_named() -> Result<()> {
    drops(&Attack { arguments: &["-i", "port1"], ..BY_THE_BRIDGE })
}

const BY_ROUTES: Attack = Attack {
    options: Options { bridge: false, offloads: true, uplink: lab::Uplink::Veth, ipv6: false },
    arguments: &[],
    guard: guard_the_routes,
    packet: as_vm1,
    to: None,
};

#[test]
fn what_rp_filter_drops_leaves_with_no_index() -> Result<()> {
    drops(&BY_ROUTES)
}

#[test]
fn what_rp_filter_drops_leaves_with_no_index_by_a_port_that_is_not_named() -> Result<()> {
    drops(&Attack { arguments: &["-i", "port1"], ..BY_ROUTES })
}

/// Nobody drops these: they leave translated, as with iptables, and vm1 goes on.
#[test]
fn what_nobody_drops_takes_nothing_over() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    for arguments in [&[][..], &["-i", "port1"]] {
        let forged = Attack { arguments, guard: |_| Ok(()), ..BY_THE_BRIDGE }.run()?;
        ensure!(forged > 0, "nothing came out: this proved nothing");
    }
    Ok(())
}

/// Replies from the server that the bridge floods, since nobody has that address.
#[test]
fn no_index_makes_a_reply() -> Result<()> {
    let to = Some(digest::link(1));
    for arguments in [&[][..], &["-i", "port1"]] {
        drops(&Attack { arguments, guard: |_| Ok(()), packet: as_the_server, to, ..BY_THE_BRIDGE })?;
    }
    Ok(())
}
