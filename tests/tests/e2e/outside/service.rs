//! A server behind a forwarded port also begins flows, from that very port: telephony, WireGuard, BitTorrent.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lab::gateway::setup::{Forward, Setup};
use lab::{GATEWAY, INSIDE, Lab, Options, Rule, SERVER, SERVER2, VM1};

use crate::e2e::twin::{each, gateway};

const PORT: u16 = 5060;

fn hear(socket: &UdpSocket, wanted: &[u8]) -> Result<SocketAddr> {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).context("nothing arrives")?;
    ensure!(&buffer[..length] == wanted, "{:?} arrives", String::from_utf8_lossy(&buffer[..length]));
    Ok(from)
}

/// `first`: the flow that the server begins is there before that of its peer.
fn port_is_its_own(rule: Rule, first: bool) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        let forward = Forward::new("wan", "5060", "10.0.0.11:5060").protocol("udp");
        let _nat = lab.translate_with(kind, &Setup::with(std::slice::from_ref(&rule)).forward(forward))?;
        let inside = lab.vm1.udp((VM1, PORT))?;
        let peer = lab.out.udp((SERVER, PORT))?;
        let register = || -> Result<()> {
            inside.send_to(b"register", (SERVER, PORT))?;
            let from = hear(&peer, b"register").context("the server registers")?;
            ensure!(from == gateway(PORT), "it registers from {from}, and {PORT} is the forwarded port");
            peer.send_to(b"registered", from)?;
            hear(&inside, b"registered").context("the answer to its registration").map(drop)
        };
        let invite = |peer: &UdpSocket| -> Result<()> {
            peer.send_to(b"invite", (GATEWAY, PORT))?;
            let from = hear(&inside, b"invite").context("an invitation")?;
            ensure!(from == peer.local_addr()?, "the invitation comes from {from}");
            inside.send_to(b"accepted", from)?;
            let from = hear(peer, b"accepted").context("the answer to an invitation")?;
            ensure!(from == gateway(PORT), "the invitation is answered from {from}");
            Ok(())
        };
        if first {
            register()?;
        }
        invite(&peer)?;
        register()?;
        invite(&lab.out.udp((SERVER2, PORT))?).context("another peer")?;
        register()
    })
}

fn rule() -> Rule {
    Rule::new("wan").source(INSIDE)
}

#[test]
fn a_server_begins_flows_from_its_forwarded_port() -> Result<()> {
    port_is_its_own(rule(), true)
}

#[test]
fn a_server_begins_flows_from_its_forwarded_port_after_its_peer() -> Result<()> {
    port_is_its_own(rule(), false)
}

#[test]
fn a_server_begins_flows_from_its_forwarded_port_by_other_profiles() -> Result<()> {
    for profile in ["rfc", "netfilter"] {
        port_is_its_own(rule().profile(profile), true).with_context(|| profile)?;
    }
    Ok(())
}
