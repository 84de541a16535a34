//! The gateway's own traffic through the uplink.

use anyhow::{Context, Result};
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, fetch, iperf3, ping};
use lab::{GATEWAY, SERVER, VM1};

use super::twin::{Setup, gateway, twin};

#[test]
fn own_traffic_is_untouched() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let http = Server::start(&lab.out, (SERVER, 80))?;
        let udp = Reflector::start(&lab.out, (SERVER, 9000))?;
        let pinged = ping(&lab.gw, SERVER, "-c 3")?.received;
        let moved = download(&lab.gw, &http.url("/bytes/5000000")?, &[])?.bytes;
        let peer = fetch(&lab.gw, &http.url("/peer")?, &["--local-port", "41000"])?;
        let asked = udp.ask(&lab.gw.udp((GATEWAY, 5000))?, "hello")?;
        Ok((pinged, moved, peer, asked))
    })?;
    assert_eq!(seen, (3, 5_000_000, gateway(41000).to_string(), gateway(5000)));
    Ok(())
}

/// Who comes from outside to a service of the gateway finds it, whatever the instances do.
#[test]
fn own_services_are_reached_from_outside() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let service = Reflector::start(&lab.gw, (GATEWAY, 53))?;
        let http = Server::start(&lab.gw, (GATEWAY, 80))?;
        let outside = Reflector::start(&lab.out, (SERVER, 9000))?;
        outside.ask(&lab.vm1.udp((VM1, 53))?, "an instance with the service's port")?;
        let asked = service.ask(&lab.out.udp((SERVER, 5000))?, "from outside")?;
        let moved = download(&lab.out, &http.url("/bytes/5000000")?, &[])?.bytes;
        let pinged = ping(&lab.out, GATEWAY, "-c 3")?.received;
        let stream = iperf3(&lab.out, (&lab.gw, GATEWAY), "-t 1")?.bytes > 1_000_000;
        Ok((asked, moved, pinged, stream))
    })?;
    assert_eq!(seen, ((SERVER, 5000).into(), 5_000_000, 3, true));
    Ok(())
}

/// M16, the gateway first: the instance has to move.
#[test]
fn an_instance_does_not_take_the_gateways_tuple() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let own = lab.gw.udp((GATEWAY, 40000))?;
        let instance = lab.vm1.udp((VM1, 40000))?;
        let first = (server.ask(&own, "gateway")?, server.ask(&instance, "instance")?);
        let again = (server.ask(&own, "gateway again")?, server.ask(&instance, "instance again")?);
        Ok((first.0, first.0 == first.1, first == again))
    })?;
    assert_eq!(seen, (gateway(40000), false, true));
    Ok(())
}

/// M16, the instance first: then it is the gateway's own flow that has to.
#[test]
fn the_gateway_does_not_take_an_instances_tuple() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let instance = lab.vm1.udp((VM1, 40000))?;
        let first = server.ask(&instance, "instance")?;
        let own = lab.gw.udp((GATEWAY, 40000))?;
        let second = server.ask(&own, "gateway").context("the gateway's own socket")?;
        let again = (server.ask(&instance, "instance again")?, server.ask(&own, "gateway again")?);
        Ok((first, second.ip(), first == second, (first, second) == again))
    })?;
    assert_eq!(seen, (gateway(40000), GATEWAY.into(), false, true));
    Ok(())
}

/// The same with a program that binds no port: two pings whose identifiers are equal.
#[test]
fn ping_with_one_identifier_from_gateway_and_instance() -> Result<()> {
    let received = twin(&Setup::default(), |lab, _| {
        let (instance, own) = lab::ends::tools::together(
            || ping(&lab.vm1, SERVER, "-c 10 -e 4711"),
            || ping(&lab.gw, SERVER, "-c 10 -e 4711"),
        );
        Ok((instance?.received, own?.received))
    })?;
    assert_eq!(received, (10, 10));
    Ok(())
}
