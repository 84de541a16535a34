//! A flood of SYNs with made-up sources, to a web server behind a forwarded port. The server sends cookies
//! and serves on.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::conformance::tcp;
use lab::ends::reflector::Reflector;
use lab::gateway::setup::{Forward, Setup};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{GATEWAY, Lab, Options, SERVER, VM1};
use natbpf_common::wire::segment::SYN;

use super::MAX_FLOWS;
use crate::e2e::fresh;
use crate::e2e::twin::each;

/// Far less than the minutes that a half-open connection may last.
const SOON: Duration = Duration::from_secs(10);

/// Three times an instance's share.
const SYNS: u32 = 3 * MAX_FLOWS / 4;

/// Ten clients in a row.
fn are_served(lab: &Lab, first_port: u16) -> Result<()> {
    for port in first_port..first_port + 10 {
        let stream = tcp::try_connect(&lab.out, (SERVER, port), (GATEWAY, 8080))?;
        let mut stream = stream.context("a client is not served")?;
        tcp::whom_it_saw(&mut stream)?;
        ensure!(tcp::echoes(&mut stream, b"hello"), "a client is not answered");
    }
    Ok(())
}

#[test]
fn clients_are_served_and_the_server_has_a_way_out() -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        lab.gw.ip(&format!("route add 198.18.0.0/15 via {SERVER}"))?;
        lab.vm1.sysctl("net.ipv4.tcp_syncookies", "2")?;
        let forward = Forward::new("wan", "8080", "10.0.0.11:80").protocol("tcp");
        let setup = Setup::default().forward(forward).max_flows(MAX_FLOWS);
        let nat = lab.translate_with(kind, &setup)?;
        let _server = tcp::Server::start(&lab.vm1, (VM1, 80))?;
        let outside_server = Reflector::start(&lab.out, (SERVER, 7777))?;
        are_served(&lab, 20_000).context("before the flood")?;

        let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
        outside.send_all((0..SYNS).map(|number| {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number);
            let syn = Packet::tcp((source, 1024), (GATEWAY, 8080), SYN).numbers(number, 0).payload([]);
            outside.frame_of(&syn)
        }))?;
        let end = Instant::now() + SOON;
        let mut port = 30_000;
        while let Err(error) = are_served(&lab, port) {
            let table =
                || nat.flows_text().unwrap_or_default().lines().take(5).collect::<Vec<_>>().join("\n");
            ensure!(
                Instant::now() < end,
                "{SOON:?} after the flood: {error:#}; in the table is\n{}",
                table()
            );
            port += 10;
        }
        fresh::answered(&outside_server, &lab.vm1, VM1, 20_000..20_020).context("the server's own flows")
    })
}
