//! A packet with a wrong sum over its header is forwarded by nobody.

use anyhow::{Result, ensure};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{GATEWAY, Lab, Options, SERVER, VM1};

use super::{OUT, warm_up, warm_up_both};
use crate::e2e::twin::{each, standard_rule};

/// Where the sum is in a frame without tags.
const SUM: usize = 14 + 10;

fn wrong_sums_end_here(options: Options) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(options)?;
        let nat = lab.translate(kind, &[standard_rule()])?;
        let _server = lab.out.udp((SERVER, 7777))?;
        let gateway = if options.bridge { "br0" } else { "port1" };
        let instance = Wire::between(&lab.vm1, "eth0", (&lab.gw, gateway))?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        let packet = |text: &str| Packet::udp((VM1, 40_000), (SERVER, 7777)).payload(text);
        warm_up(&instance, &packet("right"), &nat, OUT)?;
        for bit in 0..16 {
            let mut frame = instance.frame_of(&packet("wrong"));
            frame[SUM + bit / 8] ^= 1 << (bit % 8);
            instance.send_frame(&frame)?;
        }
        let left = outside.find(|seen| seen.payload() == b"wrong")?;
        ensure!(left.is_none(), "it was sent on: {left:?}");
        instance.send(&packet("still right"))?;
        let seen = outside.expect(|seen| seen.payload() == b"still right")?;
        ensure!(seen.src() == GATEWAY, "{seen:?}");
        Ok(())
    })
}

#[test]
fn a_wrong_header_sum_is_not_sent_on() -> Result<()> {
    wrong_sums_end_here(Options { bridge: false, ..Options::default() })
}

#[test]
fn a_wrong_header_sum_is_not_sent_on_from_a_bridge() -> Result<()> {
    wrong_sums_end_here(Options::default())
}

/// The other way: replies with a wrong sum reach no instance.
#[test]
fn a_reply_with_a_wrong_header_sum_does_not_arrive() -> Result<()> {
    each(|kind| {
        let lab = Lab::new()?;
        let nat = lab.translate(kind, &[standard_rule()])?;
        let _server = lab.out.udp((SERVER, 7777))?;
        let _client = lab.vm1.udp((VM1, 40_000))?;
        let instance = super::instance(&lab)?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        let question = Packet::udp((VM1, 40_000), (SERVER, 7777));
        let reply = |text: &str| Packet::udp((SERVER, 7777), (GATEWAY, 40_000)).payload(text);
        warm_up_both((&instance, &question), (&outside, &reply("right")), &nat)?;
        for bit in 0..16 {
            let mut frame = outside.frame_of(&reply("wrong"));
            frame[SUM + bit / 8] ^= 1 << (bit % 8);
            outside.send_frame(&frame)?;
        }
        let arrived = instance.find(|seen| seen.payload() == b"wrong")?;
        ensure!(arrived.is_none(), "it arrived: {arrived:?}");
        outside.send(&reply("still right"))?;
        instance.expect(|seen| seen.payload() == b"still right").map(drop)
    })
}
