//! Which external port a flow gets.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::ends::reflector::Reflector;
use lab::gateway::flows::Tuple;
use lab::{GATEWAY, Lab, Namespace, SERVER, SERVER2, VM1};

use super::twin::{Setup, gateway, standard_rule, twin};

#[test]
fn a_free_port_is_kept_for_every_destination() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let servers = [(SERVER, 9000), (SERVER, 9001), (SERVER2, 9000)];
        let socket = lab.vm1.udp((VM1, 5000))?;
        servers
            .iter()
            .map(|server| Reflector::start(&lab.out, *server)?.ask(&socket, "hello"))
            .collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(seen, [gateway(5000); 3]);
    Ok(())
}

/// Both tables, in the format they share, say what happened.
#[test]
fn the_flow_table_shows_the_translation() -> Result<()> {
    let flow = twin(&Setup::default(), |lab, nat| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        server.ask(&lab.vm1.udp((VM1, 5000))?, "hello")?;
        let flows = nat.flows()?;
        let flow = flows
            .into_iter()
            .find(|flow| flow.original.src == VM1)
            .context("the flow is not in the table")?;
        Ok((flow.protocol, flow.protocol_number, flow.original, flow.reply, flow.unreplied))
    })?;
    let original = Tuple { src: VM1, dst: SERVER, sport: 5000, dport: 9000 };
    let reply = Tuple { src: SERVER, dst: GATEWAY, sport: 9000, dport: 5000 };
    assert_eq!(flow, ("udp".to_owned(), 17, original, reply, false));
    Ok(())
}

#[test]
fn same_port_from_two_instances() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let (one, two) = (lab.vm1.udp("10.0.0.11:5000")?, lab.vm2.udp("10.0.0.12:5000")?);
        let first = (server.ask(&one, "one")?, server.ask(&two, "two")?);
        let again = (server.ask(&one, "one again")?, server.ask(&two, "two again")?);
        Ok((first.0, first.1.ip(), first.0 == first.1, first == again))
    })?;
    assert_eq!(seen, (gateway(5000), GATEWAY.into(), false, true));
    Ok(())
}

/// RFC 4787 REQ-3a: who bound a privileged port shows up with one.
#[test]
fn a_moved_port_below_1024_stays_below() -> Result<()> {
    let low = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        server.ask(&lab.vm1.udp("10.0.0.11:700")?, "one")?;
        let moved = server.ask(&lab.vm2.udp("10.0.0.12:700")?, "two")?;
        Ok((moved.port() < 1024, moved.port() != 700))
    })?;
    assert_eq!(low, (true, true));
    Ok(())
}

fn sockets(ns: &Namespace, ports: impl IntoIterator<Item = u16>) -> Result<Vec<UdpSocket>> {
    ports.into_iter().map(|port| ns.udp((VM1, port))).collect()
}

#[test]
fn to_ports_are_used_up_and_no_further() -> Result<()> {
    let setup = Setup { rules: vec![standard_rule().to_ports(50000, 50003)], ..Setup::default() };
    let outcome = twin(&setup, |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let sockets = sockets(&lab.vm1, 6000..6005)?;
        sockets[4].set_read_timeout(Some(Duration::from_millis(300)))?;
        let seen: Vec<_> =
            sockets[..4].iter().map(|socket| server.ask(socket, "hello")).collect::<Result<_>>()?;
        let fifth = server.try_ask(&sockets[4], "one too many")?;
        let again: Vec<_> =
            sockets[..4].iter().map(|socket| server.ask(socket, "again")).collect::<Result<_>>()?;
        let ports: std::collections::BTreeSet<_> = seen.iter().map(SocketAddr::port).collect();
        Ok((ports, fifth, seen == again))
    })?;
    assert_eq!(outcome, ((50000..=50003).collect(), None, true));
    Ok(())
}

#[test]
fn a_port_within_to_ports_is_kept() -> Result<()> {
    let setup = Setup { rules: vec![standard_rule().to_ports(50000, 50100)], ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        server.ask(&lab.vm1.udp((VM1, 50077))?, "hello")
    })?;
    assert_eq!(seen, gateway(50077));
    Ok(())
}

/// Other protocols have no ports: they pass as without the option.
#[test]
fn to_ports_leaves_ping_alone() -> Result<()> {
    let setup = Setup { rules: vec![standard_rule().to_ports(50000, 50003)], ..Setup::default() };
    let received = twin(&setup, |lab, _| Ok(lab::ends::tools::ping(&lab.vm1, SERVER, "-c 3")?.received))?;
    assert_eq!(received, 3);
    Ok(())
}

#[test]
fn random_moves_every_port() -> Result<()> {
    let setup = Setup { rules: vec![standard_rule().random()], ..Setup::default() };
    let outcome = twin(&setup, random_ports)?;
    assert_eq!(outcome, (true, true));
    Ok(())
}

/// Whether nearly all of 40 flows moved (one may draw its own port), and whether the new ports are spread.
fn random_ports(lab: &Lab, _: &lab::Translation<'_>) -> Result<(bool, bool)> {
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let sockets = sockets(&lab.vm1, 20000..20040)?;
    let seen: Vec<_> = sockets.iter().map(|socket| server.ask(socket, "hello")).collect::<Result<_>>()?;
    let moved = sockets
        .iter()
        .zip(&seen)
        .filter(|(socket, seen)| socket.local_addr().is_ok_and(|local| local.port() != seen.port()));
    let moved = moved.count();
    let regions: HashSet<_> = seen.iter().map(|seen| seen.port() / 4096).collect();
    Ok((moved >= 38, regions.len() >= 6))
}
