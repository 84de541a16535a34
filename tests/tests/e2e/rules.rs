//! Which packets a rule takes.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use lab::ends::reflector::Reflector;
use lab::{Capture, INSIDE, Lab, Rule, SERVER, SERVER2, VM1};

use super::twin::{Setup, gateway, standard_rule, twin};

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 12);

/// vm2 gets a second network, which `out` has a route to.
fn second_network(lab: &Lab) -> Result<()> {
    lab.gw.ip("addr add 192.168.50.1/24 dev br0")?;
    lab.vm2.ip("addr add 192.168.50.12/24 dev eth0")?;
    lab.out.ip("route add 192.168.50.0/24 via 203.0.113.1")
}

#[test]
fn another_source_is_left_alone() -> Result<()> {
    let setup = Setup { prepare: second_network, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let other = server.ask(&lab.vm2.udp((OTHER, 5000))?, "as I am")?;
        Ok((other, server.ask(&lab.vm1.udp((VM1, 5000))?, "translated")?))
    })?;
    assert_eq!(seen, ((OTHER, 5000).into(), gateway(5000)));
    Ok(())
}

#[test]
fn two_sources() -> Result<()> {
    let rule = standard_rule().source("192.168.50.0/24");
    let setup = Setup { rules: vec![rule], prepare: second_network, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let other = server.ask(&lab.vm2.udp((OTHER, 6000))?, "two")?;
        Ok((other, server.ask(&lab.vm1.udp((VM1, 5000))?, "one")?))
    })?;
    assert_eq!(seen, (gateway(6000), gateway(5000)));
    Ok(())
}

#[test]
fn every_source_without_a_source() -> Result<()> {
    let setup = Setup { rules: vec![Rule::new("wan")], prepare: second_network, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let own = server.ask(&lab.gw.udp("203.0.113.1:7000")?, "the gateway's own")?;
        let other = server.ask(&lab.vm2.udp((OTHER, 6000))?, "two")?;
        Ok((own, other, server.ask(&lab.vm1.udp((VM1, 5000))?, "one")?))
    })?;
    assert_eq!(seen, (gateway(7000), gateway(6000), gateway(5000)));
    Ok(())
}

#[test]
fn except_is_left_alone() -> Result<()> {
    let rule = Rule::new("wan").source("192.168.50.0/24").except("203.0.113.12/32");
    let setup = Setup { rules: vec![rule], prepare: second_network, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let (one, two) =
            (Reflector::start(&lab.out, (SERVER, 9000))?, Reflector::start(&lab.out, (SERVER2, 9000))?);
        let socket = lab.vm2.udp((OTHER, 5000))?;
        Ok((one.ask(&socket, "translated")?, two.ask(&socket, "as I am")?))
    })?;
    assert_eq!(seen, (gateway(5000), (OTHER, 5000).into()));
    Ok(())
}

/// A second uplink to the same outside, with a network of its own behind it.
pub fn second_uplink(lab: &Lab) -> Result<()> {
    lab.gw.ip(
        "link add wan2 type veth peer name eth1 netns out\naddr add 198.18.0.1/24 dev wan2\nlink set wan2 up",
    )?;
    lab.out.ip("addr add 198.18.0.10/24 dev eth1\nlink set eth1 up\naddr add 192.0.2.1/32 dev lo")?;
    lab.wait_for_carriers()
}

#[test]
fn two_uplinks() -> Result<()> {
    let rules = vec![standard_rule(), Rule::new("wan2").source(INSIDE)];
    let setup = Setup { rules, prepare: second_uplink, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        let one = Reflector::start(&lab.out, (SERVER, 9000))?;
        let two = Reflector::start(&lab.out, ("198.18.0.10", 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        Ok((one.ask(&socket, "one")?, two.ask(&socket, "two")?))
    })?;
    assert_eq!(seen, (gateway(5000), "198.18.0.1:5000".parse()?));
    Ok(())
}

/// No rule names the second uplink, so what leaves there is not natbpf's.
#[test]
fn an_uplink_without_a_rule_is_left_alone() -> Result<()> {
    let setup = Setup { prepare: second_uplink, ..Setup::default() };
    let sources = twin(&setup, |lab, _| {
        let capture = Capture::start(&lab.gw, "wan2", "udp dst port 9000")?;
        lab.vm1.udp((VM1, 5000))?.send_to(b"as I am", "198.18.0.10:9000")?;
        let lines = capture.stop()?;
        Ok(lines.iter().map(|line| line.contains("10.0.0.11.5000 > 198.18.0.10.9000")).collect::<Vec<_>>())
    })?;
    assert_eq!(sources, [true]);
    Ok(())
}

/// Traffic between the instances, and from them to the gateway itself, does not pass the uplink.
#[test]
fn inside_traffic_is_left_alone() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let neighbour = Reflector::start(&lab.vm2, (lab::VM2, 9000))?;
        let gateway = Reflector::start(&lab.gw, (lab::GATEWAY_INSIDE, 9000))?;
        let outside = Reflector::start(&lab.gw, (lab::GATEWAY, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        let servers = [&neighbour, &gateway, &outside];
        servers.iter().map(|server| Ok(server.ask(&socket, "hello")?.ip())).collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(seen, [IpAddr::from(VM1); 3]);
    Ok(())
}
