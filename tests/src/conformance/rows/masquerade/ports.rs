//! Options for ports and pools of addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::conformance::{sctp, tcp};
use crate::ends::tools::ping;

pub fn to_ports_bring_ports_in(bed: &Bed) -> Result<Outcome> {
    let setup = |first, last| Setup::masquerade(|rule| rule.to_ports(first, last));
    // The wrong way round, where that is understood.
    let reversed = bed.translate(&setup(50010, 50000));
    let turned = reversed.is_ok();
    let _nat = reversed.or_else(|_| bed.translate(&setup(50000, 50010)))?;
    let range = 50000..=50010;
    let udp = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let seen = |port| -> Result<[u16; 2]> {
        let udp = bed.udp_mapping(&bed.in1, port, &udp)?;
        Ok([udp.port(), tcp::mapping(&bed.in1, port, (OUT1, 80))?.port()])
    };
    let inside = seen(50005)?;
    expect!(inside == [50005; 2], "port 50005, which is in the range, becomes {inside:?} by UDP and TCP");
    let outside = seen(5000)?;
    expect!(outside.iter().all(|port| range.contains(port)), "port 5000 becomes {outside:?} by UDP and TCP");
    let pings = ping(&bed.in1, OUT1, "-c 2")?.received;
    expect!(pings == 2, "what has no ports does not pass");

    let without_protocol = "POSTROUTING -o wan -j MASQUERADE --to-ports 50000-50010";
    let refused = match bed.kind() {
        Kind::Natbpf => {
            let (_, said) = bed.natbpf_cli()?.import(&format!("*nat\n-A {without_protocol}\nCOMMIT\n"))?;
            said.contains("skipped line 2: ports want -p tcp or -p udp")
        }
        _ => {
            let cmd = bed.gw.cmd("iptables").args(["-t", "nat", "-A"]).args(without_protocol.split(' '));
            !cmd.output()?.status.success()
        }
    };
    expect!(refused, "a rule with --to-ports and without -p is taken");

    if bed.kind() == Kind::Iptables {
        // What natbpf's option is for in any case.
        let rule = "-t nat -I POSTROUTING -o wan -p sctp -j MASQUERADE --to-ports 50000-50010";
        bed.gw.cmd("iptables").args(rule.split(' ')).run()?;
    }
    let (wire, server) = (bed.in1.wire()?, bed.out1.wire()?);
    wire.send(&sctp::init((SILENT_IN1, 5000), (SILENT_OUT1, 38412)))?;
    let init = server.expect(|seen| seen.protocol() == sctp::PROTOCOL)?;
    let port = init.body().first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
    let mut wanting = Vec::new();
    if !range.contains(&port) {
        wanting.push("SCTP keeps its port");
    }
    if !turned {
        wanting.push("a range the wrong way round is refused");
    }
    if !wanting.is_empty() {
        return Ok(Partly(wanting.join("; ")));
    }
    Ok(Meets)
}

pub fn random_ports_for_every_flow(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.profile("netfilter").random()))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    for port in 1000..1100 {
        inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, port)))?;
    }
    let passed = outside.drain()?;
    let ports: BTreeSet<_> =
        passed.iter().filter(|seen| seen.src() == GW).map(|seen| seen.source().1).collect();
    // Two of 100 random ports are the same once in a dozen runs; nearly all of 16 regions are met.
    expect!(ports.len() >= 97, "100 flows of one socket have {} different ports", ports.len());
    let regions = ports.iter().map(|port| port / 4096).collect::<BTreeSet<_>>().len();
    expect!(regions >= 12, "the ports of 100 flows are in {regions} of the 16 regions that there are");
    Ok(Meets)
}

pub fn a_client_has_one_address_of_the_pool(bed: &Bed) -> Result<Outcome> {
    let pool = "203.0.113.50-203.0.113.53";
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to(pool).persistent()))?;
    let in_pool = |address: Ipv4Addr| (50..=53).contains(&address.octets()[3]);
    // Answers come back to an address of the pool.
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    for (host, port) in [(&bed.in1, 5000), (&bed.in2, 5000)] {
        let Some(seen) = server.try_ask(&host.udp((host.address, port))?, "hello")? else {
            return Ok(Fails("with a pool no answer comes back".into()));
        };
        expect!(in_pool(end(seen).0), "{} is seen as {seen}", host.address);
    }

    let (inside, wires) = (bed.in2.wire()?, [bed.out1.wire()?, bed.out2.wire()?]);
    let clients = (100..140).map(|last| Ipv4Addr::new(10, 0, 0, last));
    for client in clients.clone() {
        for (port, server) in [(5000, (SILENT_OUT1, 9)), (5001, (SILENT_OUT2, 9)), (5002, (SILENT_OUT1, 10))]
        {
            inside.send(&Packet::udp((client, port), server).payload(client.octets()))?;
        }
    }
    let mut used: BTreeMap<Vec<u8>, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for wire in wires {
        for seen in wire.drain()?.into_iter().filter(|seen| seen.payload().len() == 4) {
            used.entry(seen.payload().to_vec()).or_default().insert(seen.src());
        }
    }
    expect!(used.len() == 40, "of 40 clients {} get out", used.len());
    let several = used.values().filter(|addresses| addresses.len() > 1).count();
    expect!(several == 0, "{several} of 40 clients are seen with several addresses");
    let all: BTreeSet<_> = used.into_values().flatten().collect();
    expect!(
        all.iter().copied().all(in_pool) && all.len() > 1,
        "40 clients are seen with the addresses {all:?}"
    );
    Ok(Meets)
}
