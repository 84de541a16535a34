//! Which address a flow gets (nf_nat_masquerade.c, rows M04 to M06), and what becomes of it when addresses
//! change (M07 to M09).

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::ends::reflector::Reflector;
use lab::gateway::flows::Flow;
use lab::{Capture, GATEWAY, Lab, SERVER, VM1};

use super::twin::{Setup, gateway, twin};

/// Beyond `out`: which gateway leads there is a matter of routes.
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SECOND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const SECOND: Duration = Duration::from_secs(1);

/// A second subnet on the uplink.
fn second_subnet(lab: &Lab) -> Result<()> {
    lab.gw.ip("addr add 198.18.0.1/24 dev wan")?;
    lab.out.ip("addr add 198.18.0.10/24 dev eth0\naddr add 192.0.2.1/32 dev lo")
}

/// The address that `out` sees vm1 come from when it asks [`FAR`].
fn seen_from_far(lab: &Lab) -> Result<IpAddr> {
    let server = Reflector::start(&lab.out, (FAR, 9000))?;
    Ok(server.ask(&lab.vm1.udp((VM1, 0))?, "hello")?.ip())
}

#[test]
fn m04_the_subnet_of_the_next_hop_is_preferred() -> Result<()> {
    let setup = Setup { prepare: second_subnet, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        lab.gw.ip("route add 192.0.2.0/24 via 203.0.113.10")?;
        let first = seen_from_far(lab)?;
        lab.gw.ip("route replace 192.0.2.0/24 via 198.18.0.10")?;
        Ok((first, seen_from_far(lab)?))
    })?;
    assert_eq!(seen, (GATEWAY.into(), SECOND_ADDRESS));
    Ok(())
}

#[test]
fn m05_the_preferred_source_of_a_route_is_not_used() -> Result<()> {
    let setup = Setup { prepare: second_subnet, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        lab.gw
            .ip("addr add 203.0.113.9/24 dev wan\nroute add 192.0.2.0/24 via 203.0.113.10 src 203.0.113.9")?;
        seen_from_far(lab)
    })?;
    assert_eq!(seen, GATEWAY);
    Ok(())
}

#[test]
fn m06_secondary_and_link_scope_are_skipped() -> Result<()> {
    let setup = Setup { prepare: second_subnet, ..Setup::default() };
    let seen = twin(&setup, |lab, _| {
        lab.gw.ip("addr flush dev wan\naddr add 203.0.113.7/24 dev wan scope link\n\
                   addr add 203.0.113.1/25 dev wan\naddr add 203.0.113.9/25 dev wan\n\
                   route add 192.0.2.0/24 via 203.0.113.10")?;
        thread::sleep(SECOND);
        seen_from_far(lab)
    })?;
    assert_eq!(seen, GATEWAY);
    Ok(())
}

#[test]
fn m06_without_an_address_another_interfaces_is_used() -> Result<()> {
    let other = Ipv4Addr::new(198, 51, 100, 1);
    twin(&Setup::default(), |lab, _| {
        lab.out.ip("route add 198.51.100.1/32 dev eth0")?;
        // On lo, since the kernel asks the devices in their order.
        lab.gw.ip("addr add 198.51.100.1/32 dev lo\naddr flush dev wan\nroute add 203.0.113.0/24 dev wan")?;
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        server.ask_until(&socket, SECOND, (other, 5000).into())
    })
}

#[test]
fn m06_without_any_address_nothing_leaves() -> Result<()> {
    let outcome = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let before = server.ask(&socket, "before")?;
        // Without its address the gateway answers no ARP for it, so vm1 is told.
        let mac = mac_of(lab, "br0")?;
        lab.vm1.ip(&format!("neigh replace 10.0.0.1 lladdr {mac} dev eth0"))?;
        lab.gw.ip("addr flush dev wan\naddr flush dev br0\n\
                   route add 203.0.113.0/24 dev wan\nroute add 10.0.0.0/24 dev br0")?;
        thread::sleep(SECOND);
        let capture = Capture::start(&lab.out, "eth0", "udp")?;
        for round in 0..5 {
            server.try_ask(&socket, &format!("nobody hears {round}"))?;
        }
        let left = capture.stop()?;
        lab.gw.ip("addr add 203.0.113.1/24 dev wan\naddr add 10.0.0.1/24 dev br0")?;
        server.ask_until(&socket, SECOND, gateway(5000))?;
        Ok((before, left))
    })?;
    assert_eq!(outcome, (gateway(5000), vec![]));
    Ok(())
}

fn mac_of(lab: &Lab, device: &str) -> Result<String> {
    let text = lab.gw.cmd("ip").args(["-o", "link", "show", device]).output_text()?;
    let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    Ok(mac.context("a link-layer address")?.to_owned())
}

fn of_instances(flows: &[Flow]) -> usize {
    flows.iter().filter(|flow| flow.original.src == VM1).count()
}

#[test]
fn m07_link_down_ends_the_flows() -> Result<()> {
    twin(&Setup::default(), |lab, nat| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        server.ask(&socket, "before")?;
        nat.wait_for_flows(SECOND, |flows| of_instances(flows) == 1)?;
        lab.gw.ip("link set wan down")?;
        nat.wait_for_flows(SECOND, |flows| of_instances(flows) == 0)?;
        lab.gw.ip("link set wan up")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        server.ask_until(&socket, 3 * SECOND, gateway(5000))
    })
}

#[test]
fn m08_only_the_flows_of_the_removed_address_end() -> Result<()> {
    let setup = Setup { prepare: second_subnet, ..Setup::default() };
    let outcome = twin(&setup, |lab, nat| {
        let (one, two) =
            (Reflector::start(&lab.out, (SERVER, 9000))?, Reflector::start(&lab.out, ("198.18.0.10", 9000))?);
        let socket = lab.vm1.udp((VM1, 5000))?;
        let seen = (one.ask(&socket, "one")?, two.ask(&socket, "two")?);
        lab.gw.ip("addr del 198.18.0.1/24 dev wan")?;
        nat.wait_for_flows(SECOND, |flows| of_instances(flows) == 1)?;
        let left = nat.flows()?.into_iter().find(|flow| flow.original.src == VM1).map(|flow| flow.external());
        Ok((seen, left, one.ask(&socket, "still")?))
    })?;
    let first = gateway(5000);
    assert_eq!(outcome, ((first, (SECOND_ADDRESS, 5000).into()), Some((GATEWAY, 5000)), first));
    Ok(())
}

/// As a DHCP client does it when the lease changes.
#[test]
fn m09_a_new_address_is_used_within_a_second() -> Result<()> {
    let outcome = twin(&Setup::default(), |lab, nat| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        server.ask(&socket, "before")?;
        lab.gw.ip("addr del 203.0.113.1/24 dev wan\naddr add 203.0.113.2/24 dev wan")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        server.ask_until(&socket, SECOND, "203.0.113.2:5000".parse()?)?;
        let flows = nat.flows()?;
        let externals = flows.iter().filter(|flow| flow.original.src == VM1).map(Flow::external);
        Ok(externals.collect::<Vec<_>>())
    })?;
    assert_eq!(outcome, [(Ipv4Addr::new(203, 0, 113, 2), 5000)]);
    Ok(())
}
