//! Two uplinks: what comes in by the second one is answered by the first one, where the default route is. The
//! client gets its answers from the address that it asked.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use lab::conformance::tcp;
use lab::ends::reflector::Reflector;
use lab::gateway::setup::{Forward, Setup};
use lab::object::End;
use lab::{INSIDE, Lab, Options, Rule, VM1};

use crate::e2e::rules::second_uplink;
use crate::e2e::twin::each;

/// The gateway's address on the second uplink.
const GATEWAY2: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn answers_come_from(asked: End) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        second_uplink(&lab)?;
        lab.gw.ip("route add default via 203.0.113.10 dev wan")?;
        lab.out.ip(&format!("route add {INSIDE} via {GATEWAY2}"))?;
        for (ns, devices) in [(&lab.gw, ["all", "wan", "wan2"]), (&lab.out, ["all", "eth0", "eth1"])] {
            for device in devices {
                ns.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
            }
        }
        let setup = Setup::with(&[Rule::new("wan*").source(INSIDE)])
            .forward(Forward::new("wan2", "8080", "10.0.0.11:80").address(GATEWAY2));
        let _nat = lab.translate_with(kind, &setup)?;
        let _udp = Reflector::start(&lab.vm1, (VM1, 80))?;
        let _tcp = tcp::Server::start(&lab.vm1, (VM1, 80))?;

        let client = lab.out.udp((CLIENT, 42_000))?;
        for _ in 0..5 {
            client.send_to(b"hello", asked)?;
            let (_, from) = client.recv_from(&mut [0; 64]).context("UDP: no answer")?;
            ensure!(from == asked.into(), "UDP: {asked:?} was asked and {from} answered");
        }
        let mut stream =
            tcp::try_connect(&lab.out, (CLIENT, 43_000), asked)?.context("TCP: no connection")?;
        tcp::whom_it_saw(&mut stream)?;
        ensure!(tcp::echoes(&mut stream, b"hello"), "TCP: no answer");
        Ok(())
    })
}

#[test]
fn a_forwarded_port_answers_by_another_uplink() -> Result<()> {
    answers_come_from((GATEWAY2, 8080))
}

/// A router outside knows the inside network.
#[test]
fn an_instances_own_address_answers_by_another_uplink() -> Result<()> {
    answers_come_from((VM1, 80))
}
