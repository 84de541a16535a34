//! Kinds of uplink, and a flow that changes its uplink.

use std::time::Duration;

use anyhow::Result;
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, ping, upload};
use lab::traffic::tags::Tags;
use lab::{INSIDE, Kind, Lab, Options, Rule, SERVER, Uplink, VM1};

use super::rules::second_uplink;
use super::twin::{Setup, gateway, selected, standard_rule, twin};

/// A little of everything: pings, bytes down, bytes up, and whether UDP kept its port.
fn all_kinds(lab: &Lab) -> Result<(u32, u64, u64, bool)> {
    let http = Server::start(&lab.out, (SERVER, 80))?;
    let udp = Reflector::start(&lab.out, (SERVER, 9000))?;
    let pinged = ping(&lab.vm1, SERVER, "-c 3")?.received + ping(&lab.vm2, SERVER, "-c 3 -R")?.received;
    let down = download(&lab.vm1, &http.url("/bytes/10000000")?, &[])?.bytes;
    let up = upload(&lab.vm2, &http.url("/")?, 10_000_000)?.bytes;
    let seen = udp.ask(&lab.vm1.udp((VM1, 5000))?, "hello")?;
    Ok((pinged, down, up, seen == gateway(5000)))
}

const ALL: (u32, u64, u64, bool) = (6, 10_000_000, 10_000_000, true);

fn with(options: Options) -> Setup {
    Setup { options, ..Setup::default() }
}

#[test]
fn without_an_ethernet_header() -> Result<()> {
    let setup = with(Options { uplink: Uplink::Tun, ..Options::default() });
    assert_eq!(twin(&setup, |lab, _| all_kinds(lab))?, ALL);
    Ok(())
}

#[test]
fn without_a_bridge() -> Result<()> {
    let setup = with(Options { bridge: false, ..Options::default() });
    assert_eq!(twin(&setup, |lab, _| all_kinds(lab))?, ALL);
    Ok(())
}

/// Packets have their tag in the buffer's metadata when they come to natbpf.
#[test]
fn tagged_packets() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    for offloads in [true, false] {
        let lab = Lab::with(Options { offloads, ..Options::default() })?;
        // The tags go on before natbpf at egress and come off behind it at ingress.
        let natbpf = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--coexist"])?;
        let _tags = Tags::new(&lab)?;
        assert_eq!(all_kinds(&lab)?, ALL);
        assert_eq!(natbpf.status_json()?["counters"]["drops"]["malformed"], 0);
    }
    Ok(())
}

/// An MTU of 9000: segments do not fit the linear part of a packet buffer.
#[test]
fn jumbo_frames() -> Result<()> {
    fn jumbo(lab: &Lab) -> Result<()> {
        for (ns, device) in [(&lab.gw, "wan"), (&lab.gw, "port1"), (&lab.gw, "port2"), (&lab.gw, "br0")] {
            ns.ip(&format!("link set {device} mtu 9000"))?;
        }
        [&lab.vm1, &lab.vm2, &lab.out].into_iter().try_for_each(|ns| ns.ip("link set eth0 mtu 9000"))
    }
    for offloads in [true, false] {
        let options = Options { offloads, ..Options::default() };
        let setup = Setup { options, prepare: jumbo, ..Setup::default() };
        assert_eq!(twin(&setup, |lab, _| all_kinds(lab))?, ALL);
    }
    Ok(())
}

/// M10: the default route changes under a running flow.
#[test]
fn m10_a_flow_moves_to_another_uplink() -> Result<()> {
    let rules = vec![standard_rule(), Rule::new("wan2").source(INSIDE)];
    let setup = Setup { rules, prepare: second_uplink, ..Setup::default() };
    twin(&setup, |lab, _| {
        lab.gw.ip("route add default via 203.0.113.10 dev wan")?;
        let server = Reflector::start(&lab.out, ("192.0.2.1", 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        server.ask_until(&socket, Duration::from_secs(1), gateway(5000))?;
        lab.gw.ip("route replace default via 198.18.0.10 dev wan2")?;
        server.ask_until(&socket, Duration::from_secs(1), "198.18.0.1:5000".parse()?)?;
        lab.gw.ip("route replace default via 203.0.113.10 dev wan")?;
        server.ask_until(&socket, Duration::from_secs(1), gateway(5000))
    })
}
