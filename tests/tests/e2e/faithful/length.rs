//! A frame may be longer than the packet in it. The kernel cuts off what is behind the packet, and so does
//! natbpf where it sends packets on: what leaves fits the uplink.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{GATEWAY, Lab, Options, SERVER, VM1};

use super::{OUT, warm_up};
use crate::e2e::twin::{each, standard_rule};

/// An MTU of 1500 and the Ethernet header.
const LONGEST: usize = 1514;
const SECRET: &[u8; 8] = b"SECRET__";
const COUNT: usize = 3;

fn what_leaves_fits(bytes_behind: usize) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        lab.gw.ip("link set port1 mtu 9000")?;
        lab.vm1.ip("link set eth0 mtu 9000")?;
        let nat = lab.translate(kind, &[standard_rule()])?;
        let _server = lab.out.udp((SERVER, 7777))?;
        let instance = Wire::between(&lab.vm1, "eth0", (&lab.gw, "port1"))?;
        let packet = |text: &str| Packet::udp((VM1, 40_000), (SERVER, 7777)).payload(text);
        warm_up(&instance, &packet("as it should be"), &nat, OUT)?;
        let uplink = Wire::between(&lab.gw, "wan", (&lab.out, "eth0"))?;
        let behind = SECRET.repeat(bytes_behind / SECRET.len());
        for _ in 0..COUNT {
            instance.send_frame(&[instance.frame_of(&packet("and more")), behind.clone()].concat())?;
        }
        let mut left = 0;
        while let Some((frame, outgoing)) = uplink.next_frame(Duration::from_millis(200))? {
            let has = |text: &[u8]| frame.windows(text.len()).any(|window| window == text);
            if outgoing && has(b"and more") {
                left += 1;
                ensure!(frame.len() <= LONGEST, "a frame of {} bytes left by the uplink", frame.len());
                ensure!(!has(SECRET), "what was behind the packet left with it");
                ensure!(frame[26..30] == GATEWAY.octets(), "a frame left untranslated");
            }
        }
        ensure!(left == COUNT, "of {COUNT} packets {left} left");
        Ok(())
    })
}

#[test]
fn a_frame_longer_than_the_uplink_takes_is_cut() -> Result<()> {
    what_leaves_fits(8000)
}

/// It would fit, but nobody knows what it is.
#[test]
fn a_frame_longer_than_its_packet_is_cut() -> Result<()> {
    what_leaves_fits(800)
}
