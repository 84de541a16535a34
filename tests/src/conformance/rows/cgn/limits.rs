//! How much one subscriber may have.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::conformance::prelude::*;

use super::seen_from::seen_from;

const SERVER: End = (SILENT_OUT1, 9);

fn endpoints(host: Ipv4Addr, count: u16) -> Vec<End> {
    (0..count).map(|number| (host, 6000 + number)).collect()
}

pub fn a_subscriber_has_a_limit_and_harms_no_other(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.max_flows_per_source(100)))?;
    let (one, two, outside) = (bed.in1.wire()?, bed.in2.wire()?, bed.out1.wire()?);
    let greedy = endpoints(SILENT_IN1, 120);
    let seen = seen_from(&one, &outside, &greedy, SERVER)?;
    let count = seen.iter().flatten().count();
    expect!(count == 100, "with a limit of 100, {count} of 120 endpoints get a mapping");
    one.send(&Packet::echo(SILENT_IN1, SILENT_OUT1, 77))?;
    let ping = outside.find(|seen| seen.icmp() == Some((8, 0)))?;
    expect!(ping.is_none(), "a host at its limit begins an ICMP query");
    let served: Vec<_> = greedy.iter().zip(&seen).filter_map(|(end, seen)| Some((*end, (*seen)?))).collect();
    for (_, external) in &served {
        outside.send(&Packet::udp(SERVER, *external))?;
    }
    let (inside_ends, externals): (Vec<_>, Vec<_>) = served.into_iter().unzip();
    let again = seen_from(&one, &outside, &inside_ends, SERVER)?;
    expect!(again.into_iter().eq(externals.into_iter().map(Some)), "what runs does not go on");
    let others = seen_from(&two, &outside, &endpoints(SILENT_IN2, 20), SERVER)?;
    let others = others.iter().flatten().count();
    expect!(others == 20, "meanwhile {others} of 20 endpoints of another host get a mapping");
    Ok(Meets)
}

pub fn limits_differ_and_rates_are_limited(bed: &Bed) -> Result<Outcome> {
    let rule = |source: &str| Rule::new("wan").source(source);
    let rules = [
        rule(&SILENT_IN1.to_string()).max_flows_per_source(10),
        rule(&SILENT_IN2.to_string()).max_flows_per_source(20),
        rule("10.0.0.128/25").new_flows_per_second(50),
    ];
    let _nat = bed.translate(&Setup::with(&rules))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    for (host, limit) in [(SILENT_IN1, 10), (SILENT_IN2, 20)] {
        let seen = seen_from(&inside, &outside, &endpoints(host, 30), SERVER)?;
        let count = seen.iter().flatten().count();
        expect!(count == limit, "with a limit of {limit}, {count} of 30 endpoints get a mapping");
    }
    let hasty = endpoints(Ipv4Addr::new(10, 0, 0, 130), 500);
    let start = Instant::now();
    let seen = seen_from(&inside, &outside, &hasty, SERVER)?;
    let allowed = 50 + start.elapsed().as_millis() as usize * 50 / 1000 + 1;
    let count = seen.iter().flatten().count();
    expect!(
        (50..=allowed).contains(&count),
        "with 50 new flows a second, {count} of 500 at once get a mapping, and not 50 to {allowed}"
    );
    let patient = seen_from(&inside, &outside, &endpoints(Ipv4Addr::new(10, 0, 0, 131), 10), SERVER)?;
    expect!(patient.iter().all(Option::is_some), "the haste of one source holds up another");
    Ok(Meets)
}

pub fn one_endpoint_cannot_fill_the_table(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default().max_flows(4096))?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    for number in 0..3000_u16 {
        let [high, low] = number.to_be_bytes();
        inside.send(&Packet::udp((SILENT_IN1, 5000), (Ipv4Addr::new(198, 18, high, low), 9)))?;
    }
    uplink.drain()?;
    let count = nat.flows()?.iter().filter(|flow| flow.original.src == SILENT_IN1).count();
    expect!(count > 0, "there is no flow at all");
    expect!(count <= 1024, "one endpoint has {count} entries for 3000 destinations");
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let seen = bed.udp_mapping(&bed.in2, 6000, &server)?;
    expect!(end(seen) == (GW, 6000), "another host is seen as {seen}");
    Ok(Meets)
}
