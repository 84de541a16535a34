//! No resources left: no port, or no room in the table.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::process::Stream;

use super::seen_from::seen_from;

const ROOM: u32 = 1024;
const SERVER: End = (SILENT_OUT1, 9);

/// Four ports, and five endpoints that want one.
fn out_of_ports() -> (Setup, Vec<End>) {
    let setup = Setup::masquerade(|rule| rule.to_ports(50000, 50003));
    (setup, (0..5).map(|number| (SILENT_IN1, 6000 + number)).collect())
}

pub fn what_finds_no_port_is_dropped(bed: &Bed) -> Result<Outcome> {
    let (setup, endpoints) = out_of_ports();
    let _nat = bed.translate(&setup)?;
    let (inside, outside, uplink) = (bed.in1.wire()?, bed.out1.wire()?, bed.uplink()?);
    let seen = seen_from(&inside, &outside, &endpoints, SERVER)?;
    let served = seen.iter().flatten().count();
    expect!(served == 4, "of 5 endpoints for 4 ports {served} are served");
    let odd = uplink.drain()?.into_iter().find(|seen| {
        let source = seen.source();
        seen.outgoing && (source.0 != GW || !(50000..=50003).contains(&source.1))
    });
    expect!(odd.is_none(), "there leaves {odd:?}");
    let again = seen_from(&inside, &outside, &endpoints[..4], SERVER)?;
    expect!(again == seen[..4], "the others were seen as {seen:?} and later as {again:?}");
    Ok(Meets)
}

pub fn the_sender_is_told(bed: &Bed) -> Result<Outcome> {
    let (setup, endpoints) = out_of_ports();
    let _nat = bed.translate(&setup)?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let seen = seen_from(&inside, &outside, &endpoints, SERVER)?;
    ensure!(seen.iter().flatten().count() == 4, "not four of five are served: {seen:?}");
    let told = inside.find(|seen| !seen.outgoing && matches!(seen.icmp(), Some((3, 1 | 13))))?;
    expect!(told.is_some(), "the packet is dropped without a word");
    Ok(Meets)
}

pub fn the_operator_can_see_it(bed: &Bed) -> Result<Outcome> {
    let (setup, endpoints) = out_of_ports();
    let mut nat = bed.translate(&setup)?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let refused = |nat: &Translation<'_>| match bed.kind() {
        Kind::Natbpf => nat.counter("no_port"),
        _ => conntrack_failures(bed),
    };
    let before = refused(&nat)?;
    let seen = seen_from(&inside, &outside, &endpoints, SERVER)?;
    ensure!(seen.iter().flatten().count() == 4, "not four of five are served: {seen:?}");
    let count = refused(&nat)? - before;
    expect!(count == 1, "for one packet that found no port, {count} are counted");
    let Translation::Natbpf(daemon) = &mut nat else {
        return Ok(Partly("a counter; the log of the kernel was not looked at".into()));
    };
    let named = |line: &str| line.contains("WARN") && line.contains(&SILENT_IN1.to_string());
    let told = daemon.process().wait_for(Stream::Stderr, Duration::from_secs(5), named).is_ok();
    expect!(told, "it is counted, and not logged");
    Ok(Meets)
}

/// What `conntrack -S` counts of packets that found no place, over all processors.
fn conntrack_failures(bed: &Bed) -> Result<u64> {
    let text = bed.gw.cmd("conntrack").arg("-S").output_text()?;
    let failures = text.split_whitespace().filter_map(|word| word.strip_prefix("insert_failed="));
    Ok(failures.filter_map(|number| number.parse::<u64>().ok()).sum())
}

pub fn running_flows_survive_a_flood_of_new_ones(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default().max_flows(ROOM))?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let sockets = (0..200).map(|number| bed.in1.udp((IN1, 5000 + number))).collect::<Result<Vec<_>>>()?;
    let before = sockets.iter().map(|socket| server.ask(socket, "before")).collect::<Result<Vec<_>>>()?;

    // Six times as many as there is room for, none of which is ever answered, of so many sources that no limit for
    // one of them helps.
    let flood = bed.in2.wire()?;
    for number in 0..6 * ROOM {
        let source = Ipv4Addr::new(10, 0, 0, 100 + (number % 100) as u8);
        flood.send(&Packet::udp((source, 10_000 + (number / 100) as u16), (SILENT_OUT2, 9)))?;
    }
    wait_until("the table is full", Duration::from_secs(5), || Ok(nat.counter("table_full")? > 0))?;
    for (socket, seen) in sockets.iter().zip(before) {
        let now = server.try_ask(socket, "after")?;
        expect!(now == Some(seen), "a running flow was seen as {seen}, and in the flood as {now:?}");
    }
    Ok(Meets)
}
