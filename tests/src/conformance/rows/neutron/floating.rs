//! One external address for one instance.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::conformance::{sctp, tcp};
use crate::ends::tools::ping;

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 51);

/// `FLOATING` is that of `to`.
fn setup(to: Ipv4Addr) -> Setup {
    Setup::default().floating(Floating::new("wan", FLOATING, to))
}

pub fn all_of_an_instance_has_its_address(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&setup(IN1))?;
    let udp = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let outside = bed.out1.wire()?;
    let seen = bed.udp_mapping(&bed.in1, 5000, &udp)?;
    expect!(end(seen) == (FLOATING, 5000), "by UDP 10.0.0.11:5000 is seen as {seen}");
    let seen = tcp::mapping(&bed.in1, 40000, (OUT1, 80))?;
    expect!(end(seen) == (FLOATING, 40000), "by TCP 10.0.0.11:40000 is seen as {seen}");
    let pings = ping(&bed.in1, OUT1, "-c 1 -e 77")?.received;
    let request = outside.find(|seen| seen.icmp() == Some((8, 0)))?.map(|seen| seen.source());
    expect!(pings == 1 && request == Some((FLOATING, 77)), "a ping is seen as {request:?}, replies: {pings}");
    let seen = bed.udp_mapping(&bed.in2, 5000, &udp)?;
    expect!(end(seen) == (GW, 5000), "another instance is seen as {seen}");

    // And from outside to it.
    let service = Reflector::start(&bed.in1, (IN1, 7))?;
    let _tcp = tcp::Server::start(&bed.in1, (IN1, 80))?;
    let asked = |host: &Host, port| -> Result<bool> {
        let socket = host.udp((host.address, port))?;
        socket.connect((FLOATING, 7))?;
        socket.send(b"are you there?")?;
        Ok(socket.recv(&mut [0; 64]).is_ok())
    };
    expect!(asked(&bed.out1, 6000)?, "it does not answer by UDP at its address");
    let stream = tcp::try_connect(&bed.out1, (OUT1, 41000), (FLOATING, 80))?;
    expect!(stream.is_ok(), "it does not answer by TCP at its address");
    let pings = ping(&bed.out1, FLOATING, "-c 1")?.received;
    expect!(pings == 1, "it does not answer a ping at its address");
    drop(service);

    let socket = bed.gw.udp("0.0.0.0:0")?;
    let service = Reflector::start(&bed.in1, (IN1, 8))?;
    socket.send_to(b"from the gateway", (FLOATING, 8))?;
    let heard = becomes_true(Duration::from_secs(1), || Ok(service.received() > 0))?;
    if !heard {
        return Ok(Partly("the gateway itself does not reach it by that address".into()));
    }
    Ok(Meets)
}

pub fn ports_stay_and_every_protocol_passes(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&setup(SILENT_IN1))?;
    let (one, two, outside) = (bed.in1.wire()?, bed.in2.wire()?, bed.out1.wire()?);
    let server = (SILENT_OUT1, 9);
    for (wire, client, external) in [(&two, SILENT_IN2, GW), (&one, SILENT_IN1, FLOATING)] {
        wire.send(&Packet::udp((client, 5000), server))?;
        let seen = outside.expect(|seen| seen.destination() == server)?.source();
        expect!(
            seen == (external, 5000),
            "{client}:5000 is seen as {seen:?}, where another host has the port, too"
        );
    }
    let ports = [1, 22, 1023, 1024, 65535];
    for port in ports {
        one.send(&Packet::udp((SILENT_IN1, port), server))?;
        let seen = outside.expect(|seen| seen.destination() == server)?.source();
        expect!(seen == (FLOATING, port), "port {port} is seen as {seen:?}");
    }
    // GRE with the header of version 0, ESP, one that is for experiments, and SCTP.
    let third = bed.out2.wire()?;
    for protocol in [47, 50, 253, sctp::PROTOCOL] {
        let packet = |source: End, destination: End| match protocol {
            sctp::PROTOCOL => sctp::init(source, destination),
            _ => Packet::other(protocol, source.0, destination.0).payload(b"\0\0\x08\0 and more"),
        };
        outside.send(&packet((SILENT_OUT1, 5001), (FLOATING, 5002)))?;
        let came = one.find(|seen| seen.protocol() == protocol && !seen.outgoing)?.map(|seen| seen.dst());
        expect!(came == Some(SILENT_IN1), "protocol {protocol} does not get in");
        one.send(&packet((SILENT_IN1, 5003), (SILENT_OUT2, 5004)))?;
        let left = third.find(|seen| seen.protocol() == protocol)?.map(|seen| seen.src());
        expect!(left == Some(FLOATING), "protocol {protocol} leaves with the source {left:?}");
    }
    Ok(Meets)
}

pub fn instances_reach_each_other_by_it(bed: &Bed) -> Result<Outcome> {
    let floating = |address, to| Floating::new("wan", address, to).hairpin();
    let setup = Setup::default().floating(floating(FLOATING, IN1)).floating(floating(SECOND, IN2));
    let _nat = bed.translate(&setup)?;
    let service = Reflector::start(&bed.in2, (IN2, 7))?;
    let _tcp = tcp::Server::start(&bed.in2, (IN2, 80))?;
    let inside = bed.in2.wire()?;
    let socket = bed.in1.udp((IN1, 5000))?;
    socket.connect((SECOND, 7))?;
    socket.send(b"neighbour?")?;
    let mut answer = [0; 64];
    let Ok(length) = socket.recv(&mut answer) else {
        let heard = service.received();
        return Ok(Fails(format!("by UDP no answer comes back, and {heard} questions arrived")));
    };
    let seen = String::from_utf8_lossy(&answer[..length]).split(' ').next().unwrap_or_default().to_owned();
    let external = |seen: &str| [GW, FLOATING].iter().any(|address| seen.starts_with(&format!("{address}:")));
    expect!(external(&seen), "the other instance sees {seen}");
    let stream = tcp::try_connect(&bed.in1, (IN1, 40000), (SECOND, 80))?;
    let Ok(mut stream) = stream else { return Ok(Fails("by TCP there is no connection".into())) };
    let seen = tcp::whom_it_saw(&mut stream)?.to_string();
    expect!(external(&seen), "by TCP the other instance sees {seen}");
    let pings = ping(&bed.in1, SECOND, "-c 1")?.received;
    expect!(pings == 1, "a ping is not answered");
    let source = inside.find(|seen| seen.icmp() == Some((8, 0)))?.map(|seen| seen.src());
    expect!(source.is_some_and(|source| [GW, FLOATING].contains(&source)), "a ping comes from {source:?}");
    Ok(Meets)
}

pub fn what_stays_inside_keeps_its_source(bed: &Bed) -> Result<Outcome> {
    // A second network on the gateway.
    bed.gw.ip("addr add 10.1.0.1/24 dev br0")?;
    bed.in2.ip("addr add 10.1.0.12/24 dev eth0\nroute add 10.0.0.11/32 via 10.1.0.1 src 10.1.0.12")?;
    let floating = Floating::new("wan", FLOATING, IN1).hairpin();
    let _nat = bed.translate(&Setup::default().floating(floating))?;
    let east = Reflector::start(&bed.in2, ("10.1.0.12", 7))?;
    let own = Reflector::start(&bed.gw, (GW_INSIDE, 7))?;
    let outside = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen =
        [east.ask(&socket, "east")?, own.ask(&socket, "the gateway")?, outside.ask(&socket, "out")?].map(end);
    expect!(seen[0] == (IN1, 5000), "in another network it is seen as {:?}", seen[0]);
    expect!(seen[1] == (IN1, 5000), "the gateway sees it as {:?}", seen[1]);
    expect!(seen[2] == (FLOATING, 5000), "outside it is seen as {:?}", seen[2]);
    Ok(Meets)
}

pub fn taken_away_it_is_gone_with_its_flows(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&setup(SILENT_IN1))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let packet = || Packet::udp((SILENT_OUT1, 9), (FLOATING, 5000));
    let arrives = || -> Result<bool> {
        outside.send(&packet())?;
        Ok(inside.find(|seen| !seen.outgoing && seen.destination() == (SILENT_IN1, 5000))?.is_some())
    };
    let has_address = || -> Result<bool> {
        bed.out1.ip("neigh flush dev eth0")?;
        // Asked for by a datagram, seen in the table of neighbours.
        bed.out1.udp((OUT1, 0))?.send_to(b"who has it?", (FLOATING, 7))?;
        becomes_true(Duration::from_millis(500), || {
            let table = bed.out1.cmd("ip").args(["neigh", "show", &FLOATING.to_string()]).output_text()?;
            Ok(table.contains("lladdr"))
        })
    };
    expect!(arrives()?, "nothing gets in by it at all");
    inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let left = outside.expect(|seen| seen.destination() == (SILENT_OUT1, 9))?.source();
    ensure!(left == (FLOATING, 5000), "the flow is seen as {left:?}");
    ensure!(has_address()?, "nobody answers ARP for it");

    nat.change(&Setup::default().in_a_file())?;
    if bed.kind() == Kind::Iptables {
        bed.gw.ip(&format!("addr del {FLOATING}/32 dev wan"))?;
    }
    let ended = becomes_true(Duration::from_secs(2), || Ok(!arrives()?))?;
    expect!(ended, "a running flow goes on for more than two seconds");
    expect!(!has_address()?, "ARP for it is still answered");
    Ok(Meets)
}
