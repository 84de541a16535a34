//! What leads inside while natbpf runs: forwards, floating addresses and hairpinning that come and go.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::gateway::flows;
use lab::{Capture, GATEWAY, Lab, Natbpf, SERVER, VM1, VM2, netns::state, wait_until};
use nix::sys::signal::Signal;

use super::setup::{ConfigFile, MODES, end, gateway, seen, unchanged, works};

const MASQUERADE: &str = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.0/24\"]\n";
const FORWARD: &str =
    "[[forward]]\nin = \"wan\"\nprotocol = \"udp\"\nport = \"8000-8009\"\nto = \"10.0.0.11:9000\"\n";
const FLOATING: &str = "[[floating]]\nuplink = \"wan\"\naddress = \"203.0.113.50\"\nto = \"10.0.0.11\"\n";
const FLOATING_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

const SECOND: Duration = Duration::from_secs(1);

/// Sends to an external address, behind which a [`Reflector`] may be; the client's address that it saw.
fn ask(socket: &UdpSocket, to: impl Into<SocketAddr>) -> Result<Option<SocketAddr>> {
    let to = to.into();
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    // An ICMP error to an earlier datagram is no answer either.
    let mut buffer = [0; 256];
    if socket.send_to(b"hello", to).is_err() {
        return Ok(None);
    }
    let Ok((length, from)) = socket.recv_from(&mut buffer) else { return Ok(None) };
    ensure!(from == to, "{to} was asked, and {from} answered");
    let (seen, _) = str::from_utf8(&buffer[..length])?.split_once(' ').context("an answer")?;
    Ok(Some(seen.parse()?))
}

fn count(daemon: &Natbpf, part: &str) -> Result<usize> {
    let status = daemon.status_json()?;
    Ok(status[part].as_array().with_context(|| format!("{part} in {status}"))?.len())
}

#[test]
fn a_forward_comes_and_goes_with_its_flows() -> Result<()> {
    let lab = Lab::new()?;
    let _inside = Reflector::start(&lab.vm1, (VM1, 9003))?;
    let config = ConfigFile::new(MASQUERADE)?;
    let mut daemon = config.start(&lab)?;
    let client = lab.out.udp((SERVER, 40000))?;
    ensure!(ask(&client, (GATEWAY, 8003))?.is_none(), "before there is a forward");

    config.reload_well(&mut daemon, &format!("{MASQUERADE}{FORWARD}"))?;
    ensure!(ask(&client, (GATEWAY, 8003))? == Some((SERVER, 40000).into()), "by the forward");
    let flows = flows::parse(&daemon.flows_list()?)?;
    let led = flows.iter().find(|flow| flow.original.dport == 8003).context("the flow from outside")?;
    ensure!((led.original.src, led.original.dst) == (SERVER, GATEWAY), "{led:?}");
    ensure!((led.reply.src, led.reply.sport) == (VM1, 9003), "{led:?}");
    ensure!(count(&daemon, "forwards")? == 1);

    config.reload_well(&mut daemon, MASQUERADE)?;
    ensure!(ask(&client, (GATEWAY, 8003))?.is_none(), "after the forward has gone");
    ensure!(flows::parse(&daemon.flows_list()?)?.is_empty(), "{}", daemon.flows_list()?);
    ensure!(count(&daemon, "forwards")? == 0);
    Ok(())
}

/// Row N05.
#[test]
fn a_floating_address_is_announced_and_goes_with_its_flows() -> Result<()> {
    let lab = Lab::new()?;
    let outside = Reflector::start(&lab.out, (SERVER, 9000))?;
    let _inside = Reflector::start(&lab.vm1, (VM1, 9000))?;
    let config = ConfigFile::new(MASQUERADE)?;
    let mut daemon = config.start(&lab)?;
    let announcements = Capture::start(&lab.out, "eth0", "arp host 203.0.113.50")?;
    config.reload_well(&mut daemon, &format!("{MASQUERADE}{FLOATING}"))?;
    let (own, client) = (lab.vm1.udp((VM1, 5000))?, lab.out.udp((SERVER, 40000))?);
    ensure!(ask(&client, (FLOATING_ADDRESS, 9000))?.is_some(), "toward the floating address");
    let out = seen(&outside, &own)?;
    ensure!(out == Some((FLOATING_ADDRESS, 5000).into()), "from the floating address: {out:?}");
    let other = seen(&outside, &lab.vm2.udp((VM2, 5000))?)?;
    ensure!(other == Some(gateway(5000)), "another host: {other:?}");

    config.reload_well(&mut daemon, MASQUERADE)?;
    ensure!(ask(&client, (FLOATING_ADDRESS, 9000))?.is_none(), "after the address has gone");
    let left = flows::parse(&daemon.flows_list()?)?;
    ensure!(left.iter().all(|flow| flow.external().0 == GATEWAY), "{left:?}");
    // The host gets the gateway's address at once; another one has that port.
    let after = seen(&outside, &own)?.context("no way out after the address has gone")?;
    ensure!(after.ip() == GATEWAY, "{after}");

    let announcements = announcements.stop()?;
    let said = |text: &str| announcements.iter().any(|line| line.contains(text));
    ensure!(said("Request who-has 203.0.113.50 tell 203.0.113.50"), "{announcements:?}");
    ensure!(said("Reply 203.0.113.50 is-at"), "{announcements:?}");
    Ok(())
}

#[test]
fn hairpinning_is_attached_to_the_inside_and_taken_off() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let before = state::of(&lab.gw)?;
        let how = format!("[datapath]\nattach = \"{mode}\"\n");
        let plain = format!("{MASQUERADE}{FORWARD}{how}");
        let turned = format!("{MASQUERADE}{FORWARD}hairpin = true\n{how}");
        let config = ConfigFile::new(&plain)?;
        let mut daemon = config.start(&lab)?;
        let without = state::of(&lab.gw)?;
        let _inside = Reflector::start(&lab.vm1, (VM1, 9005))?;
        let client = lab.vm2.udp((VM2, 40000))?;
        ensure!(ask(&client, (GATEWAY, 8005))?.is_none(), "{mode}: without hairpin");

        config.reload_well(&mut daemon, &turned)?;
        ensure!(ask(&client, (GATEWAY, 8005))? == Some(gateway(40000)), "{mode}: with hairpin");
        let status = daemon.status_json()?;
        ensure!(status["inside"][0]["name"] == "br0" && count(&daemon, "inside")? == 1, "{status}");

        config.reload_well(&mut daemon, &plain)?;
        unchanged(&lab, &without)?;
        config.reload_well(&mut daemon, &turned)?;
        // The next start takes it over.
        daemon.kill()?;
        let daemon = config.start(&lab)?;
        ensure!(ask(&client, (GATEWAY, 8005))?.is_some(), "{mode}: after a restart");
        works(&lab)?;
        end(daemon, Signal::SIGTERM)?;
        unchanged(&lab, &before)?;
    }
    Ok(())
}

/// An interface that inside hosts are behind by a route, which comes later.
#[test]
fn a_route_to_inside_hosts_is_followed() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip("link add lan2 type bridge\naddr add 192.168.7.1/24 dev lan2\nlink set lan2 up")?;
    let config = ConfigFile::new(&format!("{MASQUERADE}hairpin = true\n"))?;
    let daemon = config.start(&lab)?;
    ensure!(count(&daemon, "inside")? == 1);
    lab.gw.ip("route add 10.0.0.128/25 dev lan2")?;
    wait_until("lan2 is inside", 3 * SECOND, || Ok(count(&daemon, "inside")? == 2))?;
    lab.gw.ip("route del 10.0.0.128/25 dev lan2")?;
    wait_until("lan2 is no longer inside", 3 * SECOND, || Ok(count(&daemon, "inside")? == 1))?;
    Ok(())
}

/// `out = "wan*"` is for interfaces that come later, too.
#[test]
fn what_a_pattern_matches_is_attached_to_when_it_comes() -> Result<()> {
    let lab = Lab::new()?;
    let config = ConfigFile::new(&MASQUERADE.replace("\"wan\"", "\"wan*\""))?;
    let daemon = config.start(&lab)?;
    ensure!(count(&daemon, "uplinks")? == 1);
    lab.gw.ip(
        "link add wan2 type veth peer name eth1 netns out\naddr add 198.18.0.1/24 dev wan2\nlink set wan2 up",
    )?;
    lab.out.ip("addr add 198.18.0.10/24 dev eth1\nlink set eth1 up")?;
    // The link may be followed before its address.
    wait_until("wan2 is attached to", SECOND, || {
        Ok(count(&daemon, "uplinks")? == 2
            && daemon.status_json()?["uplinks"].to_string().contains("198.18.0.1"))
    })?;
    lab.wait_for_carriers()?;
    let beyond = Reflector::start(&lab.out, ("198.18.0.10", 9000))?;
    let out = seen(&beyond, &lab.vm1.udp((VM1, 5000))?)?;
    ensure!(out == Some("198.18.0.1:5000".parse()?), "{out:?}");
    lab.gw.ip("link del wan2")?;
    wait_until("wan2 is gone", SECOND, || Ok(count(&daemon, "uplinks")? == 1))?;
    works(&lab)
}

/// Which of several rules decides may change while packets flow.
#[test]
fn the_order_of_rules_decides_and_can_be_changed() -> Result<()> {
    let lab = Lab::new()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let exempt = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.11\"]\naction = \"exempt\"\n";
    let config = ConfigFile::new(&format!("{exempt}{MASQUERADE}"))?;
    let mut daemon = config.start(&lab)?;
    ensure!(seen(&server, &lab.vm1.udp((VM1, 5000))?)?.is_none(), "exempt by the first rule");
    ensure!(seen(&server, &lab.vm2.udp((VM2, 6000))?)? == Some(gateway(6000)), "by the second rule");
    config.reload_well(&mut daemon, &format!("{MASQUERADE}{exempt}"))?;
    ensure!(daemon.log().contains("rule 2 (out wan, source 10.0.0.11/32,"), "{}", daemon.log());
    ensure!(seen(&server, &lab.vm1.udp((VM1, 5001))?)? == Some(gateway(5001)), "by the first rule");
    let pool = MASQUERADE.replace("source", "to = [\"203.0.113.60\", \"203.0.113.61\"]\nsource");
    config.reload_well(&mut daemon, &pool)?;
    let pooled = seen(&server, &lab.vm1.udp((VM1, 5002))?)?.context("by the pool")?;
    ensure!(["203.0.113.60:5002", "203.0.113.61:5002"].contains(&&*pooled.to_string()), "{pooled}");
    Ok(())
}
