//! How full it is, and what became of packets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::process::Stream;

const ROOM: u32 = 1024;

/// New flows, none of which is ever answered, of so many sources that no limit for one of them matters.
fn flood(wire: &Wire, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        let source = Ipv4Addr::new(10, 0, 0, 100 + (number % 100) as u8);
        wire.send(&Packet::udp((source, 10_000 + (number / 100) as u16), (SILENT_OUT2, 9)))?;
    }
    Ok(())
}

pub fn count_and_maximum_can_be_read(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default().max_flows(ROOM))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out2.wire()?);
    flood(&inside, 0..500)?;
    outside.drain()?;
    let Translation::Natbpf(daemon) = &nat else {
        let number = |name: &str| -> Result<u32> {
            Ok(bed.gw.read(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"))?.trim().parse()?)
        };
        let (count, max) = (number("count")?, number("max")?);
        expect!(count == 500 && max > 500, "of 500 flows the count is {count}, and the maximum {max}");
        let why = "count and maximum; a warning was not waited for, since the table is one for the machine";
        return Ok(Partly(why.into()));
    };
    let text = daemon.cli().cmd().args(["flows", "count", "--json"]).output_text()?;
    let count: serde_json::Value = serde_json::from_str(&text)?;
    expect!(count["count"] == 500 && count["max"] == ROOM, "of 500 flows in {ROOM} it says {text}");
    let status = daemon.status_json()?;
    expect!(status["flows"] == count, "the status has {}", status["flows"]);
    flood(&inside, 500..1000)?;
    let warned = becomes_true(Duration::from_secs(7), || {
        let log = daemon.log();
        Ok(log.lines().any(|line| line.contains("WARN") && line.contains("full")))
    })?;
    if !warned {
        return Ok(Partly("count and maximum; no warning when 95 in a hundred are used".into()));
    }
    Ok(Meets)
}

pub fn refused_flows_are_counted_exactly(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default().max_flows(ROOM))?;
    let (inside, outside, uplink) = (bed.in1.wire()?, bed.out2.wire()?, bed.uplink()?);
    // All of them are answered: what is not would give way.
    for hundred in 0..ROOM.div_ceil(100) {
        flood(&inside, 100 * hundred..100 * (hundred + 1))?;
        for seen in outside.drain()? {
            outside.send(&Packet::udp((SILENT_OUT2, 9), seen.source()))?;
        }
    }
    uplink.drain()?;
    let before = nat.counter("table_full")?;
    ensure!(before > 0, "the table is not full");
    flood(&inside, 3 * ROOM..3 * ROOM + 1000)?;
    let passed = uplink.drain()?;
    ensure!(passed.is_empty(), "there was room for {}", passed.len());
    let counted = nat.counter("table_full")? - before;
    expect!(counted == 1000, "of 1000 packets that found no room, {counted} are counted");
    let warning = |line: &str| line.contains("WARN") && line.contains("full");
    let daemon = nat.natbpf()?;
    let told = daemon.process().wait_for(Stream::Stderr, Duration::from_secs(5), warning).is_ok();
    expect!(told, "nothing of it is logged");
    let lines = daemon.log().lines().filter(|line| warning(line)).count();
    expect!(lines <= 50, "of 2000 refused packets it logs {lines} lines");
    Ok(Meets)
}

/// What conntrack counts, and natbpf's names for it; without one where natbpf has no such thing.
const NAMES: [(&str, Option<&str>); 10] = [
    ("found", None),
    ("invalid", Some("tcp_no_flow")),
    ("insert", Some("flows_created")),
    ("insert_failed", Some("no_port")),
    ("drop", Some("table_full")),
    // A full table ends no flow.
    ("early_drop", None),
    ("error", Some("malformed")),
    ("search_restart", None),
    ("clash_resolve", Some("busy")),
    ("chaintoolong", None),
];

pub fn the_counters_of_conntrack_have_a_counterpart(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    // A segment without a connection, and one datagram to see that all is done.
    inside.send(&Packet::tcp((SILENT_IN1, 4000), (SILENT_OUT1, 80), RST))?;
    inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    outside.expect(|seen| seen.destination() == (SILENT_OUT1, 9))?;
    let Translation::Natbpf(daemon) = &nat else {
        let text = bed.gw.cmd("conntrack").arg("-S").output_text()?;
        let missing: Vec<_> = NAMES.iter().filter(|(name, _)| !text.contains(&format!(" {name}="))).collect();
        expect!(missing.is_empty() || text.contains("\tfound="), "conntrack -S prints {text}");
        let sum = |name: &str| -> u64 {
            let words = text.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            words.filter_map(|number| number.parse::<u64>().ok()).sum()
        };
        expect!(sum("invalid") == 1, "of one invalid segment it counts {}", sum("invalid"));
        return Ok(Meets);
    };
    let mut counters = BTreeMap::new();
    for name in NAMES.iter().filter_map(|(_, name)| *name) {
        counters.insert(name, daemon.counter(name)?);
    }
    expect!(counters["tcp_no_flow"] == 1, "of one invalid segment it counts {}", counters["tcp_no_flow"]);
    expect!(counters["flows_created"] == 1, "of one new flow it counts {}", counters["flows_created"]);
    Ok(Partly("under names of its own, summed over the processors".into()))
}

pub fn a_flow_counts_its_packets_and_bytes(bed: &Bed) -> Result<Outcome> {
    if bed.kind() == Kind::Iptables {
        bed.gw.sysctl("net.netfilter.nf_conntrack_acct", "1")?;
    }
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.udp_mapping(&bed.in1, 5000, &server)?;
    let text = nat.flows_text()?;
    let line = text.lines().find(|line| line.contains("src=10.0.0.11 ")).context("the flow")?;
    let counts = line.matches("packets=1 bytes=").count();
    expect!(counts == 2, "a flow is shown without packets and bytes");
    Ok(Meets)
}
