//! Which ports are handed out, to whom, and when again.

use std::collections::BTreeSet;

use crate::conformance::prelude::*;

use super::seen_from::seen_from;

const SERVER: End = (SILENT_OUT1, 9);

/// One port, which `in1` had and gave up: the wires of `in1`, `in2` and `out1`.
fn a_port_given_up(bed: &Bed, nat: &Translation<'_>) -> Result<(Wire, Wire)> {
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let seen = seen_from(&inside, &outside, &[(SILENT_IN1, 5000)], SERVER)?;
    ensure!(seen == [Some((GW, 50000))], "the only port is not handed out: {seen:?}");
    nat.flush()?;
    Ok((bed.in2.wire()?, outside))
}

/// Whether another endpoint gets it before two seconds are over.
fn is_handed_out_again(inside: &Wire, outside: &Wire, server: End) -> Result<bool> {
    becomes_true(Duration::from_secs(2), || {
        Ok(seen_from(inside, outside, &[(SILENT_IN2, 5000)], server)? == [Some((GW, 50000))])
    })
}

pub fn a_port_rests_before_it_is_used_again(bed: &Bed) -> Result<Outcome> {
    // With open filtering none of the exceptions holds.
    let nat = bed.translate(&Setup::masquerade(|rule| rule.profile("rfc").to_ports(50000, 50000)))?;
    let (inside, outside) = a_port_given_up(bed, &nat)?;
    let again = is_handed_out_again(&inside, &outside, (SILENT_OUT1, 10))?;
    expect!(!again, "another endpoint gets it at once");
    Ok(Meets)
}

/// RFC 6888 REQ-8 C: at once is harmless where the old one's peers are kept out.
pub fn a_port_used_again_lets_no_old_peer_in(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(50000, 50000)))?;
    let (inside, outside) = a_port_given_up(bed, &nat)?;
    let again = is_handed_out_again(&inside, &outside, (SILENT_OUT1, 10))?;
    ensure!(again, "the port is not handed out again, so nothing is proved");
    outside.send(&Packet::udp(SERVER, (GW, 50000)).payload(b"late"))?;
    outside.send(&Packet::udp((SILENT_OUT1, 10), (GW, 50000)).payload(b"meant for in2"))?;
    let came = inside.drain()?;
    ensure!(came.iter().any(|seen| seen.payload() == b"meant for in2"), "its own peer is kept out: {came:?}");
    let late = came.iter().find(|seen| seen.payload() == b"late");
    expect!(late.is_none(), "the new owner hears the old one's peer: {late:?}");
    Ok(Meets)
}

pub fn every_port_of_a_range_is_used(bed: &Bed) -> Result<Outcome> {
    let (first, size) = (30000, 1000);
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(first, first + size - 1)))?;
    let endpoints: Vec<_> = (0..size).map(|number| (SILENT_IN1, 2000 + number)).collect();
    let seen = seen_from(&bed.in1.wire()?, &bed.out1.wire()?, &endpoints, SERVER)?;
    let ports: BTreeSet<_> = seen.iter().flatten().map(|end| end.1).collect();
    let served = seen.iter().flatten().count();
    ensure!(ports.len() == served, "two endpoints have one port");
    match served {
        served if served == endpoints.len() => Ok(Meets),
        served if served >= 900 => Ok(Partly("of 1000 endpoints for 1000 ports nearly all get one".into())),
        served => Ok(Fails(format!("of 1000 endpoints for 1000 ports {} in a hundred get one", served / 10))),
    }
}

/// The ports of endpoints of `in2` that cannot keep theirs, since `in1` has them, in the order in which they begin.
fn moved_ports(bed: &Bed, count: u16) -> Result<Vec<u16>> {
    let (one, two, outside) = (bed.in1.wire()?, bed.in2.wire()?, bed.out1.wire()?);
    let endpoints = |host| (0..count).map(|number| (host, 20000 + number)).collect::<Vec<_>>();
    seen_from(&one, &outside, &endpoints(SILENT_IN1), SERVER)?;
    let seen = seen_from(&two, &outside, &endpoints(SILENT_IN2), SERVER)?;
    let ports: Vec<_> = seen.iter().flatten().map(|end| end.1).collect();
    ensure!(ports.len() == usize::from(count), "only {} of {count} endpoints are served", ports.len());
    Ok(ports)
}

pub fn all_ports_from_1024_on_are_used(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let edges = [(SILENT_IN1, 1024), (SILENT_IN1, 65535)];
    let seen = seen_from(&bed.in1.wire()?, &bed.out1.wire()?, &edges, SERVER)?;
    expect!(seen == [Some((GW, 1024)), Some((GW, 65535))], "ports 1024 and 65535 become {seen:?}");
    let ports = moved_ports(bed, 400)?;
    // One of 400 random ports is in each of 30 regions but once in a thousand runs.
    let regions: BTreeSet<_> = ports.iter().map(|port| port.saturating_sub(1024) / 2151).collect();
    expect!(regions.len() >= 28, "400 ports are in {} of 30 equal parts of 1024 to 65535", regions.len());
    expect!(ports.iter().all(|port| *port >= 1024), "of high ports some become privileged ones");
    Ok(Meets)
}

pub fn the_next_port_cannot_be_told(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let ports = moved_ports(bed, 300)?;
    let near = |a: u16, b: u16| a.abs_diff(b) <= 16;
    // One random port in two hundred is near to one of the ten before it.
    let guessed = ports.windows(11).filter(|window| window[..10].iter().any(|port| near(*port, window[10])));
    let guessed = guessed.count();
    expect!(guessed <= 15, "{guessed} of 290 ports are near to one of the ten before them");
    // Nor do they go on as they went.
    let steps = ports.windows(3).filter(|w| w[1].wrapping_sub(w[0]) == w[2].wrapping_sub(w[1])).count();
    expect!(steps <= 3, "{steps} of 298 ports are as far from the one before as that from its own");
    Ok(Meets)
}

pub fn a_port_in_use_is_not_chosen(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let service = Reflector::start(&bed.gw, (GW, 40000))?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let seen = bed.udp_mapping(&bed.in1, 40000, &server)?;
    expect!(seen.port() != 40000, "an instance gets port 40000, where a service of the gateway listens");
    let heard = service.try_ask(&bed.out1.udp((OUT1, 5000))?, "are you there?")?;
    expect!(heard == Some((OUT1, 5000).into()), "the service is not reached");
    let ports = moved_ports(bed, 100)?;
    expect!(ports.iter().all(|port| *port >= 1024), "ports of known services are chosen");
    Ok(Meets)
}

pub fn little_is_logged_and_ports_are_hard_to_guess(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let lines = |nat: &mut Translation<'_>| -> Result<usize> {
        Ok(if bed.kind() == Kind::Natbpf { nat.natbpf()?.log().lines().count() } else { 0 })
    };
    let before = lines(&mut nat)?;
    let ports = moved_ports(bed, 300)?;
    let logged = lines(&mut nat)? - before;
    expect!(logged <= 1, "of 600 flows it logs {logged} lines");
    let different = ports.iter().collect::<BTreeSet<_>>().len();
    let regions: BTreeSet<_> = ports.iter().map(|port| port / 4096).collect();
    expect!(
        different >= 295 && regions.len() >= 14,
        "300 ports are {different} different ones in {} of 16 regions",
        regions.len()
    );
    Ok(Meets)
}
