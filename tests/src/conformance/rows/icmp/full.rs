//! A new flow that there is nothing left for.

use crate::conformance::prelude::*;

/// Rejected packets.
const MANY: u16 = 300;

pub fn the_sender_is_told(bed: &Bed) -> Result<Outcome> {
    // One host may have two flows, the other has two ports.
    let quota = Rule::new("wan").source("10.0.0.21").max_flows_per_source(2);
    let ports = Rule::new("wan").source("10.0.0.22").to_ports(50000, 50001);
    let setup = Setup::with(&[quota, ports, Rule::new("wan").source(INSIDE)]);
    let _nat = bed.translate(&setup)?;
    let uplink = bed.uplink()?;
    let cases = [("quota", SILENT_IN1, bed.in1.wire()?), ("port range", SILENT_IN2, bed.in2.wire()?)];
    for (what, source, wire) in cases {
        let packet = |port| Packet::udp((source, port), (SILENT_OUT1, 9)).payload(what);
        for port in [5000, 5001] {
            wire.send(&packet(port))?;
            uplink.expect(|seen| seen.outgoing && seen.payload() == what.as_bytes())?;
        }
        // What there is room for is used up.
        for port in 6000..6000 + MANY {
            wire.send(&packet(port))?;
        }
        let is_answer = |seen: &Seen| !seen.outgoing && seen.is_icmp_error();
        let Some(first) = wire.find_within(Duration::from_secs(2), is_answer)? else {
            return Ok(Fails(format!("when the {what} is used up the sender hears nothing")));
        };
        expect!(
            matches!(first.icmp(), Some((3, 1 | 13))) && first.src() == GW_INSIDE,
            "when the {what} is used up the sender hears {first}"
        );
        let quote = first.quote().context("the error quotes nothing")?;
        let about = (quote.source().0, quote.destination());
        expect!(about == (source, (SILENT_OUT1, 9)), "the sender is told about {quote}");
        let answers = 1 + wire.drain()?.iter().filter(|seen| is_answer(seen)).count();
        expect!(answers < usize::from(MANY) / 2, "every packet is answered, as if there were no limit");
        let left =
            uplink.drain()?.iter().filter(|seen| seen.outgoing && seen.payload() == what.as_bytes()).count();
        expect!(left == 0, "{left} packets more than the {what} allows leave");
    }
    Ok(Meets)
}
