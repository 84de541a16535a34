//! Rules about the type of service, of routing and of the firewall: some packets of a flow pass and others do not.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use etherparse::IpDscp;
use lab::object::Packet;
use lab::wire::Wire;
use lab::{GATEWAY, Lab, SERVER, VM1};

use super::{OUT, warm_up, warm_up_both};
use crate::e2e::twin::{each, standard_rule};

/// The type of service 0x10, "minimise delay".
const DSCP: u8 = 4;

/// Packets of each kind, for as long as it takes a flow to ask the kernel again, and again.
const COUNT: usize = 100;

fn marked(mut packet: Packet) -> Result<Packet> {
    packet.ip.dscp = IpDscp::try_new(DSCP)?;
    Ok(packet.payload("forbidden"))
}

/// Only packets from `vm1` without that type leave; `rule` forbids the others.
fn out(rule: fn(&Lab) -> Result<()>) -> Result<()> {
    each(|kind| {
        let lab = Lab::new()?;
        rule(&lab)?;
        let nat = lab.translate(kind, &[standard_rule()])?;
        let _server = lab.out.udp((SERVER, 7777))?;
        let instance = super::instance(&lab)?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        let packet = Packet::udp((VM1, 40_000), (SERVER, 7777)).payload("permitted");
        warm_up(&instance, &packet, &nat, OUT)?;
        alternate(&instance, &packet, &outside)
    })
}

/// The same of replies.
fn back(rule: fn(&Lab) -> Result<()>) -> Result<()> {
    each(|kind| {
        let lab = Lab::new()?;
        rule(&lab)?;
        let nat = lab.translate(kind, &[standard_rule()])?;
        let _server = lab.out.udp((SERVER, 7777))?;
        let _client = lab.vm1.udp((VM1, 40_000))?;
        let instance = super::instance(&lab)?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        let question = Packet::udp((VM1, 40_000), (SERVER, 7777)).payload("permitted");
        let reply = Packet::udp((SERVER, 7777), (GATEWAY, 40_000)).payload("permitted");
        warm_up_both((&instance, &question), (&outside, &reply), &nat)?;
        alternate(&outside, &reply, &instance)
    })
}

fn alternate(from: &Wire, packet: &Packet, to: &Wire) -> Result<()> {
    let marked = marked(packet.clone())?;
    to.drain()?;
    for _ in 0..COUNT {
        from.send(packet)?;
        from.send(&marked)?;
        thread::sleep(Duration::from_millis(10));
    }
    let seen = to.drain()?;
    let count = |text: &[u8]| seen.iter().filter(|seen| !seen.outgoing && seen.payload() == text).count();
    let (permitted, forbidden) = (count(b"permitted"), count(b"forbidden"));
    ensure!(permitted == COUNT, "of {COUNT} permitted packets {permitted} came through");
    ensure!(forbidden == 0, "of {COUNT} forbidden packets {forbidden} came through");
    Ok(())
}

#[test]
fn a_routing_rule_by_type_of_service_counts_for_each_packet() -> Result<()> {
    out(|lab| lab.gw.ip("rule add tos 0x10 iif br0 blackhole"))
}

#[test]
fn a_firewall_rule_by_type_of_service_counts_for_each_packet() -> Result<()> {
    out(|lab| {
        let rule = format!("-A FORWARD -o wan -m dscp --dscp {DSCP} -j DROP");
        lab.gw.cmd("iptables").args(rule.split(' ')).run()
    })
}

#[test]
fn a_firewall_rule_by_type_of_service_counts_for_each_reply() -> Result<()> {
    back(|lab| {
        let rule = format!("-A FORWARD -i wan -m dscp --dscp {DSCP} -j DROP");
        lab.gw.cmd("iptables").args(rule.split(' ')).run()
    })
}
