//! A neighbour on the bridge makes up replies from somebody's server, to Ethernet addresses that nobody has.
//! They must not become the way of the true ones.

use nix::net::if_::if_nametoindex;

use super::*;

/// Longer than the true ones: a way is noted for packets up to a length.
const LENGTH: usize = 1400;

/// vm1's flow is answered all the time, whatever `attack` sends from vm2.
fn replies_keep_arriving(attack: impl Fn(&Lab, &Wire) -> Result<()>) -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    // The operator limits vm1, so its replies take their way by the egress of its port.
    let limit = "qdisc add dev port1 root tbf rate 1gbit burst 100kb latency 50ms";
    lab.gw.cmd("tc").args(limit.split(' ')).run()?;
    let natbpf = start(&lab, &["--revalidate", "1m"])?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    let neighbour = Wire::between(&lab.vm2, "eth0", (&lab.gw, "br0"))?;
    attack(&lab, &neighbour)?;
    pulse.goes_on(SOON).context("vm1 gets no replies any more")?;
    is_offloaded(&natbpf)
}

/// The frame of a made-up reply.
fn frame(neighbour: &Wire, to: [u8; 6]) -> Vec<u8> {
    let mut frame = neighbour.frame_of(&Packet::udp(FLOW[1], FLOW[0]).payload([b'x'; LENGTH]));
    frame[..6].copy_from_slice(&to);
    frame
}

#[test]
fn a_frame_with_the_digest_of_the_uplinks_is_no_reply() -> Result<()> {
    replies_keep_arriving(|lab, neighbour| {
        let index = |device: &'static str| lab.gw.enter(move || if_nametoindex(device));
        let (wan, port2) = (index("wan")??, index("port2")??);
        let from = lab::link_address(&lab.vm2, "eth0")?;
        let wanted = digest::of(wan, lab::link_address(&lab.gw, "wan")?, [0; 6]);
        let to = digest::find(wanted, |to| digest::of(port2, to, from))?;
        neighbour.send_frame(&frame(neighbour, to))
    })
}

/// So many that one of them is taken for whatever has 15 bits, with a key or without.
#[test]
fn no_frame_of_very_many_is_a_reply() -> Result<()> {
    replies_keep_arriving(|_, neighbour| {
        let mut one = frame(neighbour, [0; 6]);
        let frames = (0..150_000_u32).map(|number| {
            one[..6].copy_from_slice(&digest::link(number.wrapping_mul(7919)));
            one.clone()
        });
        neighbour.send_all(frames).map(drop)
    })
}
