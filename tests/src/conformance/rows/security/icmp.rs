//! ICMP errors that were not caused by what they quote.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

/// Another address of the gateway, to which nothing is translated.
const OTHER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 2);

pub fn an_error_needs_a_flow_and_its_external_address(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip(&format!("addr add {OTHER}/24 dev wan"))?;
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let server = (SILENT_OUT1, 9);
    inside.send(&Packet::udp((SILENT_IN1, 5000), server))?;
    let seen = outside.expect(|seen| seen.destination() == server)?;
    let error = |to, quoted: &[u8]| Packet::icmp_error(R2, to, 3, 1, 0, quoted);
    let arrives = || inside.find(|seen| seen.is_icmp_error() && !seen.outgoing);
    let router = bed.r2.wire()?;
    router.send(&error(GW, seen.bytes()))?;
    expect!(arrives()?.is_some(), "an error about a live flow does not arrive");

    let quote = |from, to| Packet::udp(from, to).ip_bytes();
    let external = seen.source();
    let forged = [
        ("to another address of the gateway", error(OTHER, seen.bytes())),
        ("about a port that nobody has", error(GW, &quote((GW, 5999), server))),
        ("about a server that was not asked", error(GW, &quote(external, (SILENT_OUT2, 9)))),
        ("about a port that was not asked", error(GW, &quote(external, (SILENT_OUT1, 10)))),
        ("about the instance by its inside address", error(GW, &quote((SILENT_IN1, 5000), server))),
        ("about another source", error(GW, &quote((OTHER, external.1), server))),
    ];
    for (what, packet) in forged {
        router.send(&packet)?;
        let seen = arrives()?;
        expect!(
            seen.is_none(),
            "an error {what} arrives: {}",
            seen.map_or(String::new(), |seen| seen.to_string())
        );
    }
    Ok(Meets)
}

pub fn an_error_with_a_quoted_number_out_of_window(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let script = Script::established(bed, 40000, 80)?;
    let error = |sequence| {
        let quoted = Packet::tcp(script.external, script.server, ACK).numbers(sequence, script.server_next);
        Packet::icmp_error(R2, GW, 3, 1, 0, &quoted.ip_bytes())
    };
    let arrives = || script.inside.find(|seen| seen.is_icmp_error() && !seen.outgoing);
    let router = bed.r2.wire()?;
    router.send(&error(script.client_next - 1))?;
    expect!(arrives()?.is_some(), "an error about a segment that was sent does not arrive");
    router.send(&error(script.client_next.wrapping_add(1 << 30)))?;
    expect!(arrives()?.is_none(), "an error about a segment that was never sent arrives");
    Ok(Meets)
}

pub fn redirects_about_flows_are_dropped(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let (outside, server) = (bed.out1.wire()?, (SILENT_OUT1, 9));
    inside.send(&Packet::udp((SILENT_IN1, 5000), server))?;
    let seen = outside.expect(|seen| seen.destination() == server)?;
    outside.send(&Packet::udp(server, seen.source()))?;
    let answer = inside.expect(|seen| seen.source() == server)?;
    for code in 0..4 {
        bed.r2.wire()?.send(&Packet::icmp_error(R2, GW, 5, code, u32::from(OUT2), seen.bytes()))?;
    }
    let arrived = inside.find(|seen| seen.icmp().is_some_and(|(kind, _)| kind == 5))?;
    expect!(arrived.is_none(), "one from outside reaches the instance");
    for code in 0..4 {
        let redirect = Packet::icmp_error(SILENT_IN1, SILENT_OUT1, 5, code, u32::from(IN2), answer.bytes());
        inside.send(&redirect)?;
    }
    let left = uplink.find(|seen| seen.outgoing && seen.icmp().is_some_and(|(kind, _)| kind == 5))?;
    expect!(left.is_none(), "one from inside leaves from {:?}", left.map(|seen| seen.src()));
    let route = bed.gw.cmd("ip").args(["route", "get", &SILENT_OUT1.to_string()]).output_text()?;
    expect!(!route.contains("via"), "the gateway has another route by it: {}", route.trim());
    Ok(Meets)
}
