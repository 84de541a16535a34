//! One instance, within its share, towards one server: it must not take every port that the gateway has.
//!
//! iptables is not asked: it has no shares, and lets one instance take them all.

use anyhow::{Context, Result};
use lab::ends::reflector::Reflector;
use lab::object::Packet;
use lab::wire::Wire;
use lab::{Kind, Lab, Options, SERVER, VM1, VM2};

use crate::e2e::fresh;
use crate::e2e::twin::{selected, standard_rule};

#[test]
fn one_instance_leaves_ports_towards_a_server_to_others() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    let nat = lab.translate(Kind::Natbpf, &[standard_rule()])?;
    let server = Reflector::start(&lab.out, (SERVER, 53))?;
    fresh::answered(&server, &lab.vm2, VM2, 20_000..20_020).context("at first")?;
    let instance = Wire::between(&lab.vm1, "eth0", (&lab.gw, "port1"))?;
    instance.send_all((1024..=u16::MAX).map(|port| {
        let query = Packet::udp((VM1, port), (SERVER, 53)).payload(b"query");
        instance.frame_of(&query)
    }))?;
    let counters = || -> Result<String> {
        Ok(format!("no_port {}, quota {}", nat.counter("no_port")?, nat.counter("quota")?))
    };
    let answered = fresh::answered(&server, &lab.vm2, VM2, 30_000..30_020);
    answered.with_context(|| format!("after one instance has asked from every port ({:?})", counters()))
}
