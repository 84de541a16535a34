//! Strangers outside send, and the firewall drops all of it. They must not fill the table, nor the share of
//! an instance.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::gateway::setup::{Floating, Setup};
use lab::object::Packet;
use lab::wire::Wire;
use lab::wire::flood::Flood;
use lab::{GATEWAY, Lab, Namespace, Options, SERVER, VM1, VM2};

use super::MAX_FLOWS;
use crate::e2e::fresh;
use crate::e2e::twin::each;

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

/// While the new flows begin.
const PER_SECOND: u32 = 2000;

/// One of 200 strangers, each with many ports.
fn stranger(number: u64) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(198, 18, 0, 1 + (number % 200) as u8), 1024 + (number % 60_000) as u16)
}

/// `victim` begins flows in the middle of a flood of `packet(0)`, `packet(1)` and so on.
fn new_flows_go_on(
    setup: &Setup,
    prepare: fn(&Lab) -> Result<()>,
    victim: fn(&Lab) -> (&Namespace, Ipv4Addr),
    packet: fn(u64) -> Packet,
) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        for rule in
            ["-A FORWARD -i wan -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A FORWARD -i wan -j DROP"]
        {
            lab.gw.cmd("iptables").args(rule.split(' ')).run()?;
        }
        let nat = lab.translate_with(kind, &setup.clone().max_flows(MAX_FLOWS))?;
        let server = Reflector::start(&lab.out, (SERVER, 7777))?;
        prepare(&lab)?;
        let (ns, address) = victim(&lab);
        fresh::answered(&server, ns, address, 20_000..20_020).context("before the flood")?;
        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        outside.send_all((0..u64::from(2 * MAX_FLOWS)).map(|number| outside.frame_of(&packet(number))))?;
        let flood =
            Flood::start(outside, PER_SECOND, move |wire, number| wire.frame_of(&packet(number + 10_000)));
        thread::sleep(Duration::from_millis(100));
        let answered = fresh::answered(&server, ns, address, 30_000..30_020);
        let sent = flood.stop()?;
        answered
            .with_context(|| format!("in a flood, {sent} packets after it has begun\n{}", status(&nat)))?;
        ensure!(sent > 0, "the flood was over: this proved nothing");
        Ok(())
    })
}

fn status(nat: &lab::Translation<'_>) -> String {
    let lab::Translation::Natbpf(natbpf) = nat else { return String::new() };
    natbpf.status().unwrap_or_else(|error| error.to_string())
}

fn vm1(lab: &Lab) -> (&Namespace, Ipv4Addr) {
    (&lab.vm1, VM1)
}

fn vm2(lab: &Lab) -> (&Namespace, Ipv4Addr) {
    (&lab.vm2, VM2)
}

/// By neighbours of the uplink.
#[test]
fn packets_to_inside_addresses_fill_no_table() -> Result<()> {
    new_flows_go_on(
        &Setup::default(),
        |_| Ok(()),
        vm2,
        |number| {
            let to = Ipv4Addr::new(10, 0, 0, 100 + (number % 8) as u8);
            Packet::udp(stranger(number), (to, 9))
        },
    )
}

/// By anybody at all.
#[test]
fn packets_to_a_floating_address_fill_no_table() -> Result<()> {
    let setup = Setup::default().floating(Floating::new("wan", FLOATING, VM1));
    new_flows_go_on(
        &setup,
        |_| Ok(()),
        vm2,
        |number| Packet::udp(stranger(number), (FLOATING, 1 + (number % 65_000) as u16)),
    )
}

/// Nor do those to its floating address keep an instance itself from new flows.
#[test]
fn packets_to_a_floating_address_fill_no_share() -> Result<()> {
    let setup = Setup::default().floating(Floating::new("wan", FLOATING, VM1));
    new_flows_go_on(
        &setup,
        |_| Ok(()),
        vm1,
        |number| Packet::udp(stranger(number), (FLOATING, 1 + (number % 65_000) as u16)),
    )
}

/// Everybody may send to a mapping that one of vm1's flows has opened.
#[test]
fn packets_to_an_open_mapping_fill_no_share() -> Result<()> {
    let setup = Setup::masquerade(|rule| rule.filtering("endpoint-independent"));
    let open = |lab: &Lab| {
        let sent = lab.vm1.udp((VM1, 40_000))?.send_to(b"open", (SERVER, 7777))?;
        ensure!(sent == 4);
        Ok(())
    };
    new_flows_go_on(&setup, open, vm1, |number| Packet::udp(stranger(number), (GATEWAY, 40_000)))
}
