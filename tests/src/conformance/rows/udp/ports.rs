//! Which port an endpoint gets when it cannot have its own, or when there are few.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::conformance::behaviour::{Filtering, Transport, filtering, leaves_as, mapping};
use crate::conformance::prelude::*;
use crate::process::Stream;

const SERVER: End = (SILENT_OUT1, 9);

pub fn a_port_has_one_owner_towards_everybody(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let servers = [Reflector::start(&bed.out1, (OUT1, 9))?, Reflector::start(&bed.out2, (OUT2, 9))?];
    let one = bed.udp_mapping(&bed.in1, 5000, &servers[0])?;
    let two = bed.udp_mapping(&bed.in2, 5000, &servers[1])?;
    expect!(one != two, "two hosts are seen as {one}, each by another server");
    Ok(Meets)
}

/// The external ports of so many hosts that all send from `port` to one server.
fn collide(bed: &Bed, hosts: &[Ipv4Addr], port: u16) -> Result<Vec<u16>> {
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let external = |host: &Ipv4Addr| {
        let left = leaves_as(&uplink, &inside, Transport::Udp, (*host, port), SERVER)?;
        Ok(left.with_context(|| format!("what {host}:{port} sends does not leave"))?.1)
    };
    let ports = hosts.iter().map(external).collect::<Result<Vec<_>>>()?;
    let different = ports.iter().collect::<BTreeSet<_>>().len();
    ensure!(different == hosts.len(), "hosts share a port towards one server: {ports:?}");
    Ok(ports)
}

pub fn a_moved_port_stays_in_its_class(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let hosts = bed.silent(&bed.in1, 31..=38)?;
    for (port, class) in [(80, 1..=1023), (500, 1..=1023), (1000, 1..=1023), (1024, 1024..=65535)] {
        let ports = collide(bed, &hosts, port)?;
        expect!(
            ports.iter().all(|external| class.contains(external)),
            "of hosts with the port {port} some get one outside {class:?}"
        );
    }
    let ports = collide(bed, &hosts, 40000)?;
    expect!(ports.iter().all(|port| *port >= 1024), "of hosts with the port 40000 some get one below 1024");
    Ok(Meets)
}

pub fn a_moved_port_keeps_its_parity(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let hosts = bed.silent(&bed.in1, 31..=50)?;
    for port in [40000, 40001] {
        let ports = collide(bed, &hosts, port)?;
        let kept = ports.iter().all(|external| external % 2 == port % 2);
        expect!(kept, "of 20 hosts with the port {port} some get one of the other parity");
    }
    Ok(Meets)
}

pub fn without_a_port_left_nothing_is_harmed(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(50000, 50003)))?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let uplink = bed.uplink()?;
    let hosts = [(&bed.in1, IN1), (&bed.in2, IN2)];
    let sockets =
        [5000, 5001].into_iter().flat_map(|port| hosts.map(|(host, address)| (host, address, port)));
    let sockets =
        sockets.map(|(host, address, port)| host.udp((address, port))).collect::<Result<Vec<_>>>()?;
    let ask_all =
        |what: &str| -> Result<Vec<_>> { sockets.iter().map(|socket| server.ask(socket, what)).collect() };
    let seen = ask_all("there are four ports")?;
    let ports = seen.iter().map(std::net::SocketAddr::port).collect::<BTreeSet<_>>();
    ensure!(ports == (50000..=50003).collect(), "four endpoints have the ports {ports:?}");

    let fifth = bed.in1.udp((IN1, 5004))?;
    fifth.set_read_timeout(Some(Duration::from_millis(300)))?;
    let answer = server.try_ask(&fifth, "the fifth")?;
    expect!(answer.is_none(), "a fifth endpoint shares {answer:?} with another");
    let left = uplink.drain()?.into_iter().find(|seen| seen.outgoing && seen.payload() == b"the fifth");
    expect!(left.is_none(), "what the fifth endpoint sends leaves as {left:?}");
    // `ask` sees to it that each gets the answer to its own question.
    let later = ask_all("and now?")?;
    expect!(later == seen, "the four others were seen as {seen:?}, and later as {later:?}");
    Ok(Meets)
}

pub fn all_flows_of_a_host_have_one_address(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to("203.0.113.50-203.0.113.53")))?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let hosts = bed.silent(&bed.in1, 31..=46)?;
    for host in &hosts {
        inside.send(&Packet::udp((*host, 5000), SERVER).payload("which address?"))?;
    }
    // 200 flows of one of them, to 50 servers behind `r2`.
    for number in 0..50_u8 {
        let server = Ipv4Addr::new(192, 0, 2, number + 1);
        let port = 6000 + u16::from(number);
        inside.send(&Packet::udp((hosts[0], port), (server, 9)))?;
        inside.send(&Packet::udp((hosts[0], 5000), (server, 9)))?;
        inside.send(&Packet::tcp((hosts[0], port), (server, 80), SYN))?;
        inside.send(&Packet::echo(hosts[0], server, port))?;
    }
    let left = uplink.drain()?;
    let left = left.iter().filter(|seen| seen.outgoing).collect::<Vec<_>>();
    let of_all = left.iter().filter(|seen| seen.payload() == b"which address?").map(|seen| seen.src());
    let of_all = of_all.collect::<BTreeSet<_>>();
    expect!(of_all.len() > 1, "16 hosts all have the same one of four addresses");
    let of_one = left.iter().filter(|seen| seen.dst().octets()[..2] == [192, 0]).map(|seen| seen.src());
    let of_one = of_one.collect::<Vec<_>>();
    ensure!(of_one.len() == 200, "of 200 flows {} have left", of_one.len());
    let different = of_one.iter().collect::<BTreeSet<_>>().len();
    expect!(different == 1, "the flows of one host have {different} external addresses");
    Ok(Meets)
}

/// The same when nothing else happens, when another host has the port, while the table is nearly full and
/// flows come and go, and after a reload.
pub fn behaviour_does_not_change_under_load(bed: &Bed) -> Result<Outcome> {
    const TABLE: u32 = 1024;
    let setup = Setup::default().max_flows(TABLE).timeout("tcp_syn_sent", 1);
    let mut nat = bed.translate(&setup)?;
    let is_one = |port| -> Result<bool> {
        let ends = mapping(bed, &bed.in1, Transport::Udp, (SILENT_IN1, port))?;
        Ok(ends.iter().all(|end| *end == ends[0]))
    };
    let strangers = |port| filtering(bed, &bed.in1, Transport::Udp, (SILENT_IN1, port));
    let idle = (is_one(5000)?, strangers(5001)?);

    let uplink = bed.uplink()?;
    for port in [6000, 6001] {
        let other =
            leaves_as(&uplink, &bed.in2.wire()?, Transport::Udp, (SILENT_IN2, port), (SILENT_OUT2, 9));
        other?.context("what another host sends does not leave")?;
    }
    let clash = (is_one(6000)?, strangers(6001)?);
    expect!(clash == idle, "{}", difference("where another host has the port", idle, clash));

    let (hosts, inside) = (bed.silent(&bed.in2, 31..=40)?, bed.in2.wire()?);
    for port in 0..97 {
        for host in &hosts {
            // Some of them end soon, while others begin.
            let first = if port % 8 == 0 { Transport::Tcp } else { Transport::Udp };
            inside.send(&first.first((*host, 10000 + port), SERVER))?;
        }
    }
    nat.wait_for_flows(Duration::from_secs(2), |flows| flows.len() > TABLE as usize * 9 / 10)?;
    let full = (is_one(7000)?, strangers(7001)?);
    expect!(full == idle, "{}", difference("while the table is nearly full", idle, full));
    if let Translation::Natbpf(daemon) = &mut nat {
        daemon.reload()?;
        daemon
            .process()
            .wait_for(Stream::Stderr, Duration::from_secs(5), |line| line.contains("reloaded"))?;
        let reloaded = (is_one(7002)?, strangers(7003)?);
        expect!(reloaded == idle, "{}", difference("after a reload", idle, reloaded));
    }
    Ok(Meets)
}

/// Whether an endpoint has one port for every destination, and its filtering.
type Behaviour = (bool, Filtering);

fn difference(when: &str, idle: Behaviour, then: Behaviour) -> String {
    if idle.1 != then.1 {
        return format!("{when}, the filtering is {}, and otherwise {}", then.1.name(), idle.1.name());
    }
    let mapping = |one| if one { "one port" } else { "a port that depends on the destination" };
    format!("{when}, an endpoint has {}, and otherwise {}", mapping(then.0), mapping(idle.0))
}
