//! External ports: shared, per protocol, from a pool, random.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::conformance::behaviour::{Transport, leaves_as};
use crate::conformance::prelude::*;
use crate::conformance::tcp;

const SERVER: End = (SILENT_OUT1, 9);

/// Ten ports for many flows: each has its tuple, and its own answers.
pub fn a_port_may_serve_several_towards_different_servers(bed: &Bed) -> Result<Outcome> {
    let shared = |rule: Rule| rule.mapping("address-and-port-dependent").to_ports(50000, 50009);
    let _nat = bed.translate(&Setup::masquerade(shared))?;
    let servers = [(&bed.out1, (OUT1, 9)), (&bed.out1, (OUT1_ALIAS, 9)), (&bed.out2, (OUT2, 9))];
    let servers = servers.map(|(host, address)| Reflector::start(host, address));
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let hosts = [(&bed.in1, IN1), (&bed.in2, IN2)];
    let sockets = (5000..5015).flat_map(|port| hosts.map(|(host, address)| host.udp((address, port))));
    let sockets = sockets.collect::<Result<Vec<_>>>()?;
    let mut externals = BTreeSet::new();
    // As many endpoints towards each server as there are ports; `ask` sees to it that each gets its own
    // answers.
    for round in ["first", "second"] {
        for (number, socket) in sockets.iter().enumerate() {
            externals.insert(servers[number / 10].ask(socket, &format!("{number}, {round}"))?);
        }
    }
    expect!(externals.len() <= 10, "30 endpoints are seen as {} external ones", externals.len());
    Ok(Meets)
}

pub fn an_address_without_ports_is_not_left(bed: &Bed) -> Result<Outcome> {
    let pool = |rule: Rule| rule.to("203.0.113.50-203.0.113.51").to_ports(50000, 50003);
    let _nat = bed.translate(&Setup::masquerade(pool))?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    for port in 5000..5006 {
        inside.send(&Packet::udp((SILENT_IN1, port), SERVER))?;
    }
    // The ports that it has may serve towards others as well.
    for number in 1..=20 {
        let server = Ipv4Addr::new(192, 0, 2, number);
        inside.send(&Packet::udp((SILENT_IN1, 6000 + u16::from(number)), (server, 9)))?;
    }
    let left = uplink.drain()?;
    let left = left.iter().filter(|seen| seen.outgoing).collect::<Vec<_>>();
    let addresses = left.iter().map(|seen| seen.src()).collect::<BTreeSet<_>>();
    expect!(addresses.len() == 1, "the flows of one host leave from {} addresses", addresses.len());
    let to_server = left.iter().filter(|seen| seen.destination() == SERVER).count();
    expect!(to_server == 4, "with four ports {to_server} of six flows to one server leave");
    // The other address still has ports, for hosts that are paired with it.
    let hosts = bed.silent(&bed.in1, 31..=46)?;
    for host in hosts {
        inside.send(&Packet::udp((host, 5000), SERVER))?;
    }
    let others = uplink.drain()?;
    let others = others.iter().filter(|seen| seen.outgoing && !addresses.contains(&seen.src()));
    expect!(others.count() > 0, "no other host has the other address");
    Ok(Meets)
}

pub fn tcp_and_udp_are_two_things(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let udp = Reflector::start(&bed.out1, (OUT1, 80))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let other = bed.udp_mapping(&bed.in2, 5000, &udp)?;
    let by_udp = bed.udp_mapping(&bed.in1, 5000, &udp)?;
    ensure!(by_udp != other, "two hosts are both seen as {other}");
    let by_tcp = tcp::mapping(&bed.in1, 5000, (OUT1, 80))?;
    expect!(end(by_tcp) == (GW, 5000), "a port that is taken for UDP is {by_tcp} for TCP");
    let later = bed.udp_mapping(&bed.in1, 5000, &udp)?;
    expect!(
        later == by_udp,
        "by UDP the endpoint was {by_udp}, and after TCP from the same port it is {later}"
    );
    Ok(Meets)
}

pub fn udp_opens_no_port_of_tcp(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let client = (SILENT_IN1, 5000);
    let external = leaves_as(&bed.uplink()?, &inside, Transport::Udp, client, SERVER)?;
    let external = external.context("a datagram does not leave")?;
    for source in [SERVER, (SILENT_OUT1, 77)] {
        outside.send(&Transport::Tcp.first(source, external))?;
    }
    outside.send(&Packet::udp(SERVER, external).payload("an answer"))?;
    inside.expect(|seen| seen.destination() == client && seen.payload() == b"an answer")?;
    outside.send(&Transport::Tcp.first((SILENT_OUT1, 78), external))?;
    outside.send(&Packet::udp(SERVER, external).payload("the last one"))?;
    let mut entered = Vec::new();
    while let Some(seen) = inside.next(Duration::from_millis(500))? {
        if seen.payload() == b"the last one" {
            break;
        }
        entered.extend((!seen.outgoing && seen.flags().intersects(SYN)).then_some(seen));
    }
    expect!(entered.is_empty(), "a mapping of UDP lets in {entered:?}");
    Ok(Meets)
}

pub fn ports_are_spread_at_random(bed: &Bed) -> Result<Outcome> {
    const FLOWS: u16 = 1000;
    const BINS: usize = 16;
    let _nat = bed.translate(&Setup::masquerade(Rule::random))?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    for port in 0..FLOWS {
        inside.send(&Packet::udp((SILENT_IN1, 20000 + port), SERVER).payload(port.to_be_bytes()))?;
    }
    let left = uplink.drain()?;
    let left = left.iter().filter(|seen| seen.outgoing && seen.destination() == SERVER);
    let ports: Vec<u16> = left.map(|seen| seen.source().1).collect();
    ensure!(ports.len() == usize::from(FLOWS), "of {FLOWS} flows {} have left", ports.len());

    let inside_range = ports.iter().all(|port| *port >= 1024);
    expect!(inside_range, "some of the ports are below 1024");
    let mut bins = [0_u32; BINS];
    for port in &ports {
        bins[usize::from(port - 1024) * BINS / (1 << 16)] += 1;
    }
    // The last bin is a little smaller than the others, which does not show in a thousand flows. With 15
    // degrees of freedom one of a million fair draws is above 56.
    let expected = f64::from(FLOWS) / BINS as f64;
    let chi_square = bins.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum::<f64>();
    let even = chi_square < 56.0;
    expect!(even, "the ports are not spread evenly: by sixteenths {bins:?}");
    let neighbours = ports.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) == 1).count();
    expect!(neighbours < 10, "{neighbours} of {FLOWS} ports are the one before plus one");
    let kept = ports.iter().zip(20000..).filter(|(port, own)| *port == own).count();
    expect!(kept < 10, "{kept} of {FLOWS} ports are the source port");
    Ok(Meets)
}
