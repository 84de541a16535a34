//! One host inside that wants everything.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::conformance::prelude::*;
use crate::conformance::tcp;

/// New flows of another host in the flood.
const OTHERS: u16 = 100;

pub fn one_host_leaves_ports_and_room_to_others(bed: &Bed) -> Result<Outcome> {
    // Half as many ports as flows, a quarter of which one source may have.
    let setup = Setup::masquerade(|rule| rule.to_ports(50000, 50999)).max_flows(2000);
    let _nat = bed.translate(&setup)?;
    let (greedy, other, outside) = (bed.in1.wire()?, bed.in2.wire()?, bed.out1.wire()?);
    let server = (SILENT_OUT1, 9);
    for round in 0..2 {
        for port in 10_000..15_000 {
            greedy.send(&Packet::udp((SILENT_IN1, port), server).payload(b"greedy"))?;
        }
        // Answers make them flows that netfilter does not give up for others.
        if round == 0 {
            for seen in outside.drain()?.iter().filter(|seen| seen.payload() == b"greedy") {
                outside.send(&Packet::udp(server, seen.source()))?;
            }
        }
    }
    outside.drain()?;
    for port in 20_000..20_000 + OTHERS {
        other.send(&Packet::udp((SILENT_IN2, port), server).payload(b"other"))?;
    }
    let through = outside.drain()?.iter().filter(|seen| seen.payload() == b"other").count();
    let wanted = usize::from(OTHERS) * 99 / 100;
    expect!(through >= wanted, "of {OTHERS} new flows of another host {through} get through");
    Ok(Meets)
}

/// As many flows as netfilter has room for, which is the same for all network namespaces.
fn room(bed: &Bed) -> Result<u32> {
    let text = bed.gw.read("/proc/sys/net/netfilter/nf_conntrack_max")?;
    text.trim().parse().with_context(|| format!("nf_conntrack_max is {text:?}"))
}

/// A number of packets from inside without an answer, from one source to a few servers.
fn flood(wire: &Wire, count: u32, packet: impl Fn(u16, u16) -> Packet) -> Result<()> {
    for number in 0..count {
        wire.send(&packet(1024 + (number % 64_000) as u16, 1 + (number / 64_000) as u16))?;
    }
    Ok(())
}

pub fn half_open_connections_are_bounded(bed: &Bed) -> Result<Outcome> {
    // The same room for both, up to what a test has time to fill.
    let room = room(bed)?.min(1 << 18);
    let nat = bed.translate(&Setup::default().max_flows(room))?;
    let _server = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let mut streams =
        [tcp::connect(&bed.in1, 40000, (OUT1, 80))?, tcp::connect(&bed.in2, 40000, (OUT1, 80))?];
    for stream in &mut streams {
        tcp::whom_it_saw(stream)?;
    }
    let count = room / 4 + 4000;
    flood(&bed.in1.wire()?, count, |from, to| {
        Packet::tcp((SILENT_IN1, from), (SILENT_OUT1, to), SYN).payload([])
    })?;
    for (stream, host) in streams.iter_mut().zip(["the host of the flood", "another host"]) {
        expect!(tcp::echoes(stream, b"still there?"), "a running connection of {host} is cut");
    }
    expect!(
        tcp::try_connect(&bed.in2, (IN2, 40001), (OUT1, 80))?.is_ok(),
        "another host cannot connect any more"
    );
    let flows = nat.flows()?;
    let half_open = flows.iter().filter(|flow| flow.original.src == SILENT_IN1).count();
    expect!(
        half_open <= room as usize / 4,
        "one host has more half-open connections than a quarter of the table"
    );
    Ok(Meets)
}

const TUPLES: u32 = 20_000;
const SAMPLE: usize = 2_000;

/// Tuples of which each differs from others by one bit or by a multiple of a power of two: what weak hashes put
/// into one bucket. Were they in one, the last would take a hundred times as long as the first.
pub fn chosen_tuples_do_not_slow_the_table_down(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let inside = bed.in1.wire()?;
    let packets: Vec<Packet> = (0..TUPLES)
        .map(|number| {
            let (low, high) = (number % 250, number / 250);
            let source = Ipv4Addr::new(10, 0, 0, 1 + (low % 5) as u8 + 100);
            let port = 1024 + (low / 5 * 1024) as u16;
            let server = Ipv4Addr::new(203, 0, 113, 20);
            Packet::udp((source, port), (server, 512 * (1 + high) as u16 + 1))
        })
        .collect();
    let mut times = Vec::with_capacity(packets.len());
    for packet in &packets {
        let start = Instant::now();
        inside.send(packet)?;
        times.push(start.elapsed());
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (first, last) = (median(&times[..SAMPLE]), median(&times[times.len() - SAMPLE..]));
    let flows = nat.flows()?;
    let entered = flows.iter().filter(|flow| flow.original.src.octets()[0] == 10).count();
    expect!(entered == TUPLES as usize, "of {TUPLES} flows {entered} are in the table");
    expect!(last < first * 5, "the last flows take more than five times as long as the first");
    Ok(Meets)
}

pub fn a_repeated_syn_does_not_renew(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let inside = bed.in1.wire()?;
    let syn = Packet::tcp((SILENT_IN1, 40000), (SILENT_OUT1, 80), SYN).payload([]);
    let datagram = Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9));
    let both = || -> Result<[u32; 2]> {
        inside.send(&syn)?;
        inside.send(&datagram)?;
        wait_until("both flows are there", Duration::from_secs(1), || Ok(nat.flows()?.len() >= 2))?;
        Ok([nat.remaining("tcp", (SILENT_IN1, 40000))?, nat.remaining("udp", (SILENT_IN1, 5000))?])
    };
    let first = both()?;
    std::thread::sleep(Duration::from_millis(1300));
    let second = both()?;
    // Whatever renews is seen to.
    ensure!(second[1] + 1 >= first[1], "a repeated datagram does not renew: {first:?}, {second:?}");
    expect!(second[0] < first[0], "a repeated SYN gives the half-open connection its whole time again");
    Ok(Meets)
}
